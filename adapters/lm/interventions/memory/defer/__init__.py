"""A gate beside one projection, which hands prompts over to a small model."""
