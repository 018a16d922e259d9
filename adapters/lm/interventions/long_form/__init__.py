"""Editing towards long targets: hidden states that make the model say them, and weights that give these states.

A target is said as a whole from one state (UnKE), or in chunks, each from a state of its own (AnyEdit); the states are
written into a whole block by training it, or into MLP projections by least squares; see params.py.
"""
