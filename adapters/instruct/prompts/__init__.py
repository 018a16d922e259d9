"""Prompt templates: data (YAML files beside this module), their schema, and how they are filled. No code in them."""
