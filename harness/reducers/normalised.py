"""How much of a whole a part keeps: means of columns, put between those of nothing and of everything.

Share of a column: (mean of it − mean of `empty`) / (mean of `full` − mean of `empty`). Of means, not a mean of shares:
a single item's whole may be next to nothing. NaN where the whole is no better than nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..metrics import Array, Columns, register_reducer

NOTHING = 1e-5
"""A whole that is so small a part of the means is float noise of two equal ones."""


def _mean(values: Array, weights: Array) -> Array:
    result: Array = weights @ values / weights.sum(axis=1)
    return result


def _whole(columns: Columns, weights: Array, full: str, empty: str) -> Array:
    whole = _mean(columns[full], weights) - _mean(columns[empty], weights)
    size = np.abs(_mean(columns[full], weights)) + np.abs(_mean(columns[empty], weights))
    found: Array = np.where(whole > NOTHING * size, whole, np.nan)
    return found


def _shares(columns: Columns, weights: Array, parts: Sequence[str], full: str, empty: str) -> Array:
    """Shape (samples, parts)."""
    floor = _mean(columns[empty], weights)
    whole = _whole(columns, weights, full, empty)
    return np.stack([(_mean(columns[part], weights) - floor) / whole for part in parts], axis=1)


@register_reducer("normalised")
def normalised(columns: Columns, weights: Array, *, part: str, full: str, empty: str) -> Array:
    """Share of one column."""
    found: Array = _shares(columns, weights, [part], full, empty)[:, 0]
    return found


@register_reducer("normalised_area")
def normalised_area(
    columns: Columns,
    weights: Array,
    *,
    parts: Sequence[str],
    at: Sequence[float],
    full: str,
    empty: str,
    log: bool = False,
    distance: bool = False,
) -> Array:
    """Area by trapezoids under the shares of `parts` over `at`; over log(at), and then over its range, if `log`.

    `distance`: of |1 − share| in place of the share.
    """
    shares = _shares(columns, weights, parts, full, empty)
    heights = np.abs(1 - shares) if distance else shares
    places = np.log(at) if log else np.asarray(at)
    area: Array = ((heights[:, 1:] + heights[:, :-1]) / 2) @ np.diff(places)
    return area / (places[-1] - places[0]) if log else area


@register_reducer("first_reaching")
def first_reaching(
    columns: Columns, weights: Array, *, parts: Sequence[str], at: Sequence[float], full: str, empty: str, share: float
) -> Array:
    """The first of `at` whose part has at least this share; NaN where none has."""
    shares = _shares(columns, weights, parts, full, empty)
    reached = shares >= share
    found: Array = np.where(reached.any(axis=1), np.asarray(at, dtype=float)[reached.argmax(axis=1)], np.nan)
    return np.where(np.isnan(shares).any(axis=1), np.nan, found)


@register_reducer("normalised_gap")
def normalised_gap(
    columns: Columns, weights: Array, *, firsts: Sequence[str], seconds: Sequence[str], full: str, empty: str
) -> Array:
    """Mean over pairs of columns of |mean of the first − mean of the second|, as a share of the whole."""
    gaps = [
        np.abs(_mean(columns[a], weights) - _mean(columns[b], weights)) for a, b in zip(firsts, seconds, strict=True)
    ]
    found: Array = np.mean(gaps, axis=0) / _whole(columns, weights, full, empty)
    return found
