"""The best of several operating points: gains that come at a cost (operating point as in TPR at fixed FPR)."""

from __future__ import annotations

import numpy as np

from ..metrics import Array, Columns, register_reducer

ROUNDING = 1e-12
"""A mean cost that is above the limit by no more than this is at the limit."""


@register_reducer("best_within")
def best_within(columns: Columns, weights: Array, *, limit: float) -> Array:
    """The largest mean gain among the operating points whose mean cost is at most `limit`; NaN where none's is.

    Columns: gain and cost of each point in turn (`gain_1`, `cost_1`, `gain_2`, `cost_2`, …), each column named once.
    The point is chosen anew in every sample, so that an interval holds the choice too. It is chosen on the items that
    it is measured on: among many points the best one is somewhat flattered.

    Raises ValueError when the columns are no pairs.
    """
    if len(columns) % 2:
        raise ValueError(f"best_within: expected pairs of a gain and a cost, got {len(columns)} columns")
    with np.errstate(invalid="ignore"):
        means = weights @ np.stack(list(columns.values()), axis=1) / weights.sum(axis=1, keepdims=True)
    gains, costs = means[:, ::2], means[:, 1::2]
    within = costs <= limit + ROUNDING
    best: Array = np.where(within, gains, -np.inf).max(axis=1)
    return np.where(within.any(axis=1), best, np.nan)
