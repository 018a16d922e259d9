"""Reducers that several families need; each takes weights of shape (samples, items). See `benchwright.metrics`."""
