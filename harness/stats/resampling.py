"""What intervals and paired tests share: items in a stable order, and draws of clusters as weights of items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from ..metrics import Array, Metric
from ..store import Cluster, Sample

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


def numbered(*groups: Sequence[Cluster]) -> tuple[list[list[str]], list[Index]]:
    """The names of each factor's levels, sorted, and for each group its clusters as their numbers, (items, factors).

    There is one factor unless clusters are crossed. Raises ValueError when some are crossed otherwise than others.
    """
    rows = [[(c,) if isinstance(c, str) else c for c in group] for group in groups]
    if len(counts := sorted({len(row) for group in rows for row in group})) > 1:
        raise ValueError(f"some items have {counts[0]} clusters, others {counts[1]}; each has one for each factor")
    names = [sorted(set(factor)) for factor in zip(*(row for group in rows for row in group), strict=True)]
    numbers = [{name: n for n, name in enumerate(factor)} for factor in names]
    found = [[[of[c] for of, c in zip(numbers, row, strict=True)] for row in group] for group in rows]
    return names, [np.array(group, dtype=np.intp).reshape(len(group), len(names)) for group in found]


def levels(units: Iterable[Sequence[int]]) -> list[int]:
    """How many levels of each factor occur in `units`, one number for each factor."""
    return [len(set(factor)) for factor in zip(*units, strict=True)]


def draws(
    units: Sequence[Index], sizes: Sequence[int], resamples: int, rng: np.random.Generator
) -> Iterator[list[Array]]:
    """How often each item is drawn: in blocks, weights (samples, items) for each of `units` (items, factors).

    Of each factor as many levels are drawn with replacement as it has (`sizes`), and an item's weight is the product
    of its levels' counts. With one factor that is the bootstrap of clusters, with several the pigeonhole bootstrap
    (Owen 2007, Ann. Appl. Stat. 1, 386-411). Of a mean over two factors it counts the variance that neither explains
    about three times, so that it is rather too careful. Resamples of crossed clusters that draw no item are left out.
    """
    # A generator for each factor, so that the size of a block changes nothing.
    generators = [rng, *rng.spawn(len(sizes) - 1)]
    for rows in blocks(resamples, max(*map(len, units), *sizes)):
        counts = [_counts(rows, size, own) for size, own in zip(sizes, generators, strict=True)]
        weights = [reduce(np.multiply, (c[:, u] for c, u in zip(counts, of.T, strict=True))) for of in units]
        if len(sizes) > 1:
            some = np.any([w.any(axis=1) for w in weights], axis=0)
            weights = [w[some] for w in weights]
        yield weights


def _counts(rows: int, size: int, rng: np.random.Generator) -> Array:
    """How often each of `size` levels is among as many draws; shape (rows, size)."""
    drawn = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(float)


def resampled(metric: Metric, seeds: Sequence[Sample], weights: Sequence[Array]) -> Array:
    """The metric of each seed under its weights, each (samples, items); shape (samples, seeds)."""
    return np.stack([metric.value(s.columns, w) for s, w in zip(seeds, weights, strict=True)], axis=1)
