"""Requests of a user's own, outside of a run: the Python call, the command's work, hyper-parameters of other tools."""
