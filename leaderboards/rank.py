"""Which rows are better than which, as far as the data can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..metrics import Metric
from ..stats import Estimate, compare_each, holm
from ..store import Sample
from .tables import Column, Row

ALPHA = 0.05
"""Family-wise level at which one row counts as better than another."""
RESAMPLES = 2000
"""Least number of a paired bootstrap."""
FINENESS = 4
"""A p-value can be so many times smaller than what the correction over all tests asks of the smallest one."""


def headline(columns: Sequence[Column], rows: Sequence[Sequence[Estimate | None]]) -> int | None:
    """Index of the column that ranks: that of the first metric with a direction, None when there is none.

    `rows` are the estimates of the rows that ended ok. Under several conditions (`T=1`, `T=10`, `T=100`) it
    is the one that most rows have; of equals the one with most independent units, since a few sequences of edits can
    separate nothing; then the last, since lifelong editing is about the longest sequence.
    """
    directed = [i for i, column in enumerate(columns) if column.metric.better != "none"]
    same = [i for i in directed if columns[i].metric.id == columns[directed[0]].metric.id]

    def worth(i: int) -> tuple[int, int, int]:
        known = [estimate for row in rows if (estimate := row[i]) is not None and has_value(estimate)]
        return len(known), max((estimate.clusters for estimate in known), default=0), i

    return max(same, key=worth, default=None)


def has_value(estimate: Estimate | None) -> bool:
    """Whether there is a number to rank."""
    return estimate is not None and not math.isnan(estimate.value)


def ranks(metric: Metric, samples: Mapping[str, Sequence[Sample]]) -> dict[str, int]:
    """Rank of each method: 1 + the number of methods that are significantly better.

    Both directions of every pair are tested, one-sided, and Holm's correction covers them all. Methods that
    the data cannot separate share a rank.
    """
    worse: list[str] = []
    p_values: list[float] = []
    tests = len(samples) * (len(samples) - 1)
    resamples = max(RESAMPLES, math.ceil(FINENESS * tests / ALPHA))
    for one, other, result in compare_each(metric, samples, resamples=resamples):
        worse += [one, other]
        p_values += [result.p_better, result.p_worse]
    found = dict.fromkeys(samples, 1)
    for method, p in zip(worse, holm(p_values), strict=True):
        found[method] += p < ALPHA
    return found


def order(rows: Sequence[Row], columns: Sequence[Column], headline: int | None) -> tuple[Row, ...]:
    """Ranked rows by rank, then value in the metric's direction, then name; unranked rows last, by name."""

    def key(row: Row) -> tuple[float, float, str]:
        estimate = row.estimates[headline] if headline is not None else None
        if headline is None or estimate is None or row.rank is None:
            return (math.inf, 0.0, row.method)
        sign = -1 if columns[headline].metric.better == "higher" else 1
        return (row.rank, sign * estimate.value, row.method)

    return tuple(sorted(rows, key=key))


def best_values(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[float | None, ...]:
    """The best value of each column among ok rows; None without a direction or without two different values."""
    found: list[float | None] = []
    for i, column in enumerate(columns):
        values = [e.value for row in rows if row.ok and (e := row.estimates[i]) and not math.isnan(e.value)]
        best = max if column.metric.better == "higher" else min
        found.append(best(values) if column.metric.better != "none" and len(set(values)) > 1 else None)
    return tuple(found)
