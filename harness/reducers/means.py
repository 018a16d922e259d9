"""Scores made of the means of several columns."""

from __future__ import annotations

import numpy as np

from ..metrics import Array, Columns, mean, register_reducer


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


@register_reducer("ratio_of_sums")
def ratio_of_sums(columns: Columns, weights: Array) -> Array:
    """The weighted sum of the first column over that of the second one; NaN where that is 0."""
    above, below = (weights @ values for values in columns.values())
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)


@register_reducer("exp_of_mean")
def exp_of_mean(columns: Columns, weights: Array) -> Array:
    """exp of the weighted mean of one column: of mean negative log-likelihoods, the geometric mean of perplexities."""
    return np.exp(mean(columns, weights))
