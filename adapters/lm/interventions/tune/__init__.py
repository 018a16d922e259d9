"""Training on a whole set of prompts with a safe and an unsafe answer each: stages of objectives over parameters."""

from __future__ import annotations

from .params import Experts, TaskArithmetic, Tune

__all__ = ["Experts", "TaskArithmetic", "Tune"]
