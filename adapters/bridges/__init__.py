"""Other evaluation libraries, asked about a model while a patch changes it."""
