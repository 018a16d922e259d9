"""Circuits that are known, because they were compiled into the weights (adapters/worlds/compiled)."""
