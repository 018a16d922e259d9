"""ToxEdit: a value matrix of its own for prompts that a classifier inside the model finds harmful."""

from __future__ import annotations

from .params import ToxEdit

__all__ = ["ToxEdit"]
