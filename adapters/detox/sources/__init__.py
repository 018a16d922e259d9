"""Where detox cases come from."""
