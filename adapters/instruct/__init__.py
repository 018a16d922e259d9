"""Instruction data: pipelines that generate, select and rewrite rows, and protocols that score them against a truth."""
