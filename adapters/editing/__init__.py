"""Knowledge editing: change one fact in a language model, and nothing else."""
