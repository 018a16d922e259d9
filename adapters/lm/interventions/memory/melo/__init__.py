"""Low-rank blocks that an index of hidden states switches on."""
