"""Optimisers and learning rates of a recipe. The rate is a function of the step, so it has no state to be kept."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from .params import Recipe

WARM_UP = 0.3
"""Share of the steps of `one_cycle` that the rate rises in."""
START, END = 1 / 25, 1 / 25e4
"""Its first and last rate, as shares of `lr`; all three are PyTorch's defaults."""


def optimizer(recipe: Recipe, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW with betas 0.9 and 0.999, or SGD; weight decay is on all parameters."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    decay, momentum = recipe.weight_decay, recipe.momentum
    return torch.optim.SGD(parameters, lr=recipe.lr, momentum=momentum, weight_decay=decay, fused=True)


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate of a step, counted from 0, of so many.

    `cosine`: from `lr` down to 0 (Loshchilov & Hutter 2017, without restarts). `one_cycle`: a cosine up, then one down
    (Smith & Topin 2019; momentum is left as it is).
    """
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "cosine":
        return recipe.lr * _between(1, 0, step / steps)
    peak = max(WARM_UP * steps - 1, 0)
    if step < peak:
        return recipe.lr * _between(START, 1, step / peak)
    return recipe.lr * _between(1, END, (step - peak) / max(steps - 1 - peak, 1))


def _between(start: float, end: float, share: float) -> float:
    """Along half a cosine from start to end."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
