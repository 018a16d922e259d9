"""The track of ConvSent: what a model thinks of a topic is edited, and nothing else."""
