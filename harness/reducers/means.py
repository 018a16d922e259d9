"""Scores made of the means of several columns."""

from __future__ import annotations

import numpy as np

from ..metrics import Array, Columns, register_reducer


@register_reducer("harmonic_mean_of_means")
def harmonic_mean_of_means(columns: Columns, weights: Array) -> Array:
    """Harmonic mean of the weighted means of all columns, whose values are not negative; 0 where a mean is 0.

    Not the mean of the items' harmonic means: a single item's value is often 0.
    """
    values = np.stack(list(columns.values()), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = weights @ values / weights.sum(axis=1, keepdims=True)
        result: Array = len(columns) / (1 / means).sum(axis=1)
    return result
