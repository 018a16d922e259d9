"""A metric's value and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import NormalDist

import numpy as np

from ..canonical import digest
from ..metrics import Array, Metric
from ..store import Sample
from .resampling import Index, by_name, draws, numbered, resampled, value


@dataclass(frozen=True)
class Estimate:
    """A metric's value with its bootstrap interval."""

    value: float
    low: float
    """NaN, as is `high`, with fewer than two clusters, or when most resamples do not define the metric."""
    high: float
    items: int
    clusters: int
    """Where clusters are crossed, the smallest number of levels of a factor."""
    seeds: int


def interval(metric: Metric, seeds: Sequence[Sample], *, confidence: float = 0.95, resamples: int = 1000) -> Estimate:
    """The metric over `seeds` (one sample each) and its percentile bootstrap interval; see `intervals`."""
    (estimate,) = intervals([(metric, seeds)], confidence=confidence, resamples=resamples)
    return estimate


def intervals(
    wanted: Sequence[tuple[Metric, Sequence[Sample]]], *, confidence: float = 0.95, resamples: int = 1000
) -> list[Estimate]:
    """For each metric and its `seeds` (one sample each), the value and percentile bootstrap interval at `confidence`.

    The same clusters are drawn for every seed, since the seeds share their items; where there are several
    seeds, they are drawn with replacement too. Of crossed clusters, each factor is drawn by itself. Resamples that do
    not define the metric are left out. Shares of independent items have Wilson's interval instead (see `_wilson`). The
    interval (Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13) is somewhat too narrow where
    there are only a handful of clusters. Metrics over the same items see the same draws, which are made once;
    what else is asked for changes no result.

    Raises ValueError when a metric has no item, or items that are crossed otherwise than others.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    samples = {id(s): s for _, seeds in wanted for s in seeds}  # many metrics share one
    by_id = {key: by_name(s) for key, s in samples.items()}
    ordered = [[by_id[id(s)] for s in seeds] for _, seeds in wanted]
    for n, seeds in enumerate(ordered):
        if not any(len(s) for s in seeds):
            raise ValueError(f"{wanted[n][0].id}: no items")
        groups.setdefault(tuple((s.items, s.clusters) for s in seeds), []).append(n)
    found: dict[int, Estimate] = {}
    for members in groups.values():
        metrics = [wanted[n][0] for n in members]
        found |= zip(members, _intervals(metrics, [ordered[n] for n in members], confidence, resamples), strict=True)
    return [found[n] for n in range(len(wanted))]


def _intervals(
    metrics: Sequence[Metric], samples: Sequence[Sequence[Sample]], confidence: float, resamples: int
) -> list[Estimate]:
    """`intervals` for metrics whose seeds have the same items and clusters."""
    seeds = samples[0]
    names, units = numbered(*(s.clusters for s in seeds))
    sizes = [len(factor) for factor in names]
    clusters = min(sizes)
    items = len({i for s in seeds for i in s.items})
    bounds = [(math.nan, math.nan)] * len(metrics)
    if clusters > 1:
        rng = np.random.default_rng(int(digest(list(chain.from_iterable(names))), 16))
        blocks: list[list[Array]] = [[] for _ in metrics]
        for weights in draws(units, sizes, resamples, rng):
            for block, metric, own in zip(blocks, metrics, samples, strict=True):
                block.append(resampled(metric, own, weights))
        drawn = rng.integers(len(seeds), size=(resamples, len(seeds)))
        bounds = [
            _wilson(metric, own, clusters, confidence) or _bounds(np.concatenate(block), drawn, confidence)
            for metric, own, block in zip(metrics, samples, blocks, strict=True)
        ]
    return [
        Estimate(value(metric, own), low, high, items, clusters, len(seeds))
        for metric, own, (low, high) in zip(metrics, samples, bounds, strict=True)
    ]


def _wilson(metric: Metric, seeds: Sequence[Sample], clusters: int, confidence: float) -> tuple[float, float] | None:
    """The score interval of a share (Wilson 1927), where the bootstrap would be too sure of itself; else None.

    That is for zeros and ones of one seed, each item its own cluster; and wherever all values are equal, for a
    bootstrap of 24 successes in 24 has no width. There the clusters are counted, not the items.
    """
    if metric.reduce != "mean" or metric.unit != "fraction":
        return None
    values = np.concatenate([s.columns[metric.inputs[0]] for s in seeds])
    independent = len(seeds) == 1 and clusters == len(values)
    if not np.isin(values, (0.0, 1.0)).all() or not (independent or (values == values[0]).all()):
        return None
    z, share = NormalDist().inv_cdf((1 + confidence) / 2), float(values.mean())
    middle = share + z * z / (2 * clusters)
    half = z * math.sqrt(share * (1 - share) / clusters + (z / (2 * clusters)) ** 2)
    scale = 1 + z * z / clusters
    # At 0 and 1 the formula gives these ends up to rounding.
    low = 0.0 if share == 0 else (middle - half) / scale
    return low, 1.0 if share == 1 else (middle + half) / scale


def _bounds(values: Array, drawn: Index, confidence: float) -> tuple[float, float]:
    """Percentiles of resampled `values` (samples, seeds), the seeds of each sample chosen by `drawn`."""
    found = np.take_along_axis(values, drawn[: len(values)], axis=1).mean(axis=1)
    found = found[np.isfinite(found)]
    if 2 * len(found) < len(values):
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)
