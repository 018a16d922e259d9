"""Agreement of two numbers. Columns: `label`, `predicted`. NaN where a sample has no spread."""

from __future__ import annotations

import numpy as np

from ..metrics import Array, Columns, register_reducer

ROUNDING = 1e-24
"""A variance that is a smaller part of the mean square is float noise."""


def _pearson(x: Array, y: Array, weights: Array) -> Array:
    """Weighted correlation of `x` and `y`, of shape (samples, items) or (items,)."""
    total = weights.sum(axis=1, keepdims=True)
    centred, spreads, floors = [], [], []
    for values in (x, y):
        moved = values - (weights * values).sum(axis=1, keepdims=True) / total
        centred.append(moved)
        spreads.append((weights * moved * moved).sum(axis=1))
        # A constant leaves a spread of rounding, not of zero.
        floors.append(ROUNDING * (weights * values * values).sum(axis=1))
    defined = (spreads[0] > floors[0]) & (spreads[1] > floors[1])
    together = (weights * centred[0] * centred[1]).sum(axis=1)
    result: Array = np.where(defined, together / np.sqrt(np.where(defined, spreads[0] * spreads[1], 1)), np.nan)
    return result


def _ranks(values: Array, weights: Array) -> Array:
    """Mid-ranks of `values` in samples that hold each item `weights` times; shape (samples, items)."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) != 0])
    ties = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(ties, axis=1) - ties + (ties + 1) / 2
    sizes = np.diff(np.r_[starts, len(values)])
    ranks = np.empty_like(weights, dtype=float)
    ranks[:, order] = np.repeat(middle, sizes, axis=1)
    return ranks


@register_reducer("pearson")
def pearson(columns: Columns, weights: Array) -> Array:
    """Product-moment correlation."""
    return _pearson(columns["label"], columns["predicted"], weights)


@register_reducer("spearman")
def spearman(columns: Columns, weights: Array) -> Array:
    """Correlation of mid-ranks."""
    return _pearson(_ranks(columns["label"], weights), _ranks(columns["predicted"], weights), weights)


@register_reducer("rmse")
def rmse(columns: Columns, weights: Array) -> Array:
    """Root of the mean squared difference."""
    squared = (columns["label"] - columns["predicted"]) ** 2
    result: Array = np.sqrt(weights @ squared / weights.sum(axis=1))
    return result


@register_reducer("mae")
def mae(columns: Columns, weights: Array) -> Array:
    """Mean absolute difference."""
    result: Array = weights @ np.abs(columns["label"] - columns["predicted"]) / weights.sum(axis=1)
    return result
