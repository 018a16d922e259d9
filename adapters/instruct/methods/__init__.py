"""Pipelines, and the stages that they are made of. Nothing heavy is imported here."""
