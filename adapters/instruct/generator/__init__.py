"""The generator track: a writer whose replies are known, and what a generator makes of them."""
