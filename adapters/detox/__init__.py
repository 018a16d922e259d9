"""Detoxification: how safe a method makes a language model, and what that costs."""
