"""Circuit analysis: which edges of a model carry a behaviour, how well they do alone, and what they do."""
