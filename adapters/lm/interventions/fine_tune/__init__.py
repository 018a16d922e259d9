"""Gradient descent until the model says the targets: parameters × objective × constraint."""

from __future__ import annotations

from .params import AdaLora, FineTune, Lora, Parameters

__all__ = ["AdaLora", "FineTune", "Lora", "Parameters"]
