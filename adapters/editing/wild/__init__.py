"""Editing in the wild: answers that the model writes of itself, to their natural end, judged as a whole."""
