"""Edits that are kept beside the model and looked up: key × router × stored unit × merge."""
