"""What intervals and paired tests share: items in a stable order, and draws of clusters as weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..metrics import Array, Metric
from ..store import Sample

Index = NDArray[np.intp]

BLOCK = 2**20
"""Weights (samples × items) that are held at once: 8 MB, of which reducers make a few copies."""


def value(metric: Metric, seeds: Sequence[Sample]) -> float:
    """The metric on all items, averaged over `seeds` (one sample each); NaN where a seed lacks it."""
    return float(np.mean([metric.value(by_name(s).columns)[0] for s in seeds]))


def by_name(sample: Sample, keep: set[str] | None = None) -> Sample:
    """The items in `keep` (all when None), in the order of their names."""
    kept = [n for n, item in enumerate(sample.items) if keep is None or item in keep]
    return sample.take(sorted(kept, key=sample.items.__getitem__))


def blocks(rows: int, width: int) -> Iterator[int]:
    """`rows` in parts of at most BLOCK / `width`."""
    step = max(1, BLOCK // width)
    for start in range(0, rows, step):
        yield min(step, rows - start)


def draws(items: int, units: int, resamples: int, rng: np.random.Generator) -> Iterator[Array]:
    """How often each unit is drawn, in blocks of shape (samples, units) sized for weights `items` wide."""
    for rows in blocks(resamples, max(items, units)):
        drawn = rng.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(float)


def resampled(metric: Metric, seeds: Sequence[Sample], weights: Sequence[Array]) -> Array:
    """The metric of each seed under its weights, each (samples, items); shape (samples, seeds)."""
    return np.stack([metric.value(s.columns, w) for s, w in zip(seeds, weights, strict=True)], axis=1)
