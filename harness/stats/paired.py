"""Is one better than the other, on the same items? Exact McNemar, sign flips, paired bootstrap, Holm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, combinations
from statistics import NormalDist

import numpy as np

from ..canonical import digest
from ..metrics import Array, Metric
from ..store import Sample
from .resampling import blocks, by_name, draws, levels, numbered, resampled, value

EXACT_UNITS = 12
"""Up to so many units that changed, all 2^n sign flips are enumerated."""
FLIPS = 20_000
PAIRED_RESAMPLES = 10_000
ROUNDING = 1e-12
"""Differences smaller than this part of the values are float noise (a sum in another order), not a change."""


Unit = tuple[int, ...]
"""An item's cluster by number; where clusters are crossed, its level of each factor."""


@dataclass(frozen=True)
class Comparison:
    """A paired comparison; a positive `gain` means that `new` is better, in the metric's direction."""

    gain: float
    low: float
    """Lower end of the one-sided confidence interval of the gain at level `1 - alpha`; NaN where nothing can
    be said about it (a single cluster, say)."""
    p_worse: float
    """One-sided p-value of the hypothesis that `new` is not worse."""
    p_better: float
    test: str
    """`mcnemar`, `sign-flip` or `bootstrap`."""
    items: int
    clusters: int
    """Where clusters are crossed, the smallest number of levels of a factor."""
    spread: float
    """Standard deviation of one unit's contribution to the gain, for the sample size that a decision would
    need. The unit is a cluster; the standard error of the gain is `spread / sqrt(clusters)`."""


def compare(
    metric: Metric,
    old: Sequence[Sample],
    new: Sequence[Sample],
    *,
    alpha: float = 0.01,
    resamples: int = PAIRED_RESAMPLES,
) -> Comparison:
    """Paired comparison of `new` with `old` (one sample each for every seed) on the items that both have.

    Means are tested on what each item gained, averaged over its seeds: by the exact McNemar test (one seed,
    values 0 and 1, each item its own cluster) or by flipping the signs of the clusters' sums. Every other
    reducer, and means too where clusters are crossed (their sums share items, so that no sign is free), is tested by
    a paired bootstrap of `resamples`, which draws the same clusters for both sides. The seeds themselves are taken as
    given. Clusters are those of `new`.

    Raises ValueError when nothing is shared, when the metric has no direction, or when some items are crossed
    otherwise than others.
    """
    if metric.better == "none":
        raise ValueError(f"{metric.id} has no direction: it cannot get worse")
    shared = {i for s in old for i in s.items} & {i for s in new for i in s.items}
    if not shared:
        raise ValueError(f"{metric.id}: no shared items")
    old, new = [by_name(s, shared) for s in old], [by_name(s, shared) for s in new]
    unit_of = _units(new)
    if _flips(metric, unit_of):
        return _compare_means(metric, old, new, unit_of, alpha)
    return _by_bootstrap(
        metric, old, new, unit_of, alpha, lambda: _change(*_drawn(metric, (old, new), unit_of, resamples))
    )


def compare_each(
    metric: Metric,
    samples: Mapping[str, Sequence[Sample]],
    *,
    alpha: float = 0.01,
    resamples: int = PAIRED_RESAMPLES,
) -> Iterator[tuple[str, str, Comparison]]:
    """`compare` of every two of `samples` that share an item, the first as `old`.

    Where all have the same items, the bootstrap's draws are made once and each metric is computed once for each of
    them: the same numbers, but for n rivals n evaluations instead of n².
    """
    named = {name: [by_name(s) for s in seeds] for name, seeds in samples.items()}
    over = {(s.items, s.clusters) for seeds in named.values() for s in seeds}
    sides = list(named.values())
    unit_of = _units(sides[0]) if sides else {}
    if len(over) > 1 or _flips(metric, unit_of):
        for one, other in combinations(samples, 2):
            if {i for s in samples[one] for i in s.items} & {i for s in samples[other] for i in s.items}:
                yield one, other, compare(metric, samples[one], samples[other], alpha=alpha, resamples=resamples)
        return
    drawn = dict(zip(named, _drawn(metric, sides, unit_of, resamples), strict=True)) if len(sides) > 1 else {}
    for one, other in combinations(named, 2):
        change = partial(_change, drawn[one], drawn[other])
        yield one, other, _by_bootstrap(metric, named[one], named[other], unit_of, alpha, change)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for looking at all of them, order kept (Holm 1979, Scand. J. Statist. 6, 65-70).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    steps = accumulate(((len(order) - rank) * p_values[i] for rank, i in enumerate(order)), max)
    adjusted = dict(zip(order, steps, strict=True))
    return [min(1.0, adjusted[i]) for i in range(len(order))]


def items_needed(spread: float, tolerance: float, alpha: float, power: float = 0.8) -> int:
    """Units that a paired test needs to tell a change of `tolerance` from none with probability `power`.

    `spread` is `Comparison.spread`, in the metric's unit as `tolerance` is; `alpha` is one-sided. With
    several items in a cluster, the units are clusters. Raises ValueError unless `tolerance` is positive.
    """
    if not tolerance > 0:
        raise ValueError(f"no number of items can decide about a change of {tolerance}")
    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)
    return math.ceil((z * spread / tolerance) ** 2)


def _compare_means(
    metric: Metric, old: Sequence[Sample], new: Sequence[Sample], unit_of: dict[str, Unit], alpha: float
) -> Comparison:
    before, after = (_item_means(metric, side, unit_of) for side in (old, new))
    change = _change(before, after) * _sign(metric)
    units = np.array([unit for (unit,) in unit_of.values()])
    sums, sizes = np.bincount(units, weights=change), np.bincount(units).astype(float)
    n, clusters, gain = len(change), len(sums), float(change.mean())
    binary = len(old) == len(new) == 1 and bool(np.isin([before, after], (0.0, 1.0)).all())
    if binary and clusters == n:
        test = "mcnemar"
        worse, better = int((change < 0).sum()), int((change > 0).sum())
        p_worse, p_better = _binomial_tail(worse, worse + better), _binomial_tail(better, worse + better)
    else:
        test = "sign-flip"
        # A cluster whose gains and losses cancel says nothing either way, whichever way the sum was rounded.
        changed = np.abs(sums) > ROUNDING * np.bincount(units, weights=np.abs(change))
        p_worse, p_better = _sign_flip(np.asarray(sums[changed], float), _rng(metric))
    if not change.any():
        return Comparison(0.0, 0.0, 1.0, 1.0, test, n, clusters, 0.0)
    spread = low = math.nan
    if clusters > 1:
        # The gain is a ratio, sum of gains over number of items; linearised, so that sizes may differ.
        spread = float(np.std((sums - gain * sizes) * clusters / n, ddof=1))
        low = gain - NormalDist().inv_cdf(1 - alpha) * spread / math.sqrt(clusters)
    return Comparison(gain, low, p_worse, p_better, test, n, clusters, spread)


def _flips(metric: Metric, unit_of: dict[str, Unit]) -> bool:
    """Whether each unit's gain could have the other sign: of means, where no item belongs to two units."""
    return metric.reduce == "mean" and all(len(unit) == 1 for unit in unit_of.values())


def _units(seeds: Sequence[Sample]) -> dict[str, Unit]:
    """Number of each item's cluster; items and clusters in the order of their names."""
    cluster_of = {i: c for s in reversed(seeds) for i, c in zip(s.items, s.clusters, strict=True)}
    items = sorted(cluster_of)
    _, (units,) = numbered([cluster_of[i] for i in items])
    return dict(zip(items, map(tuple, units.tolist()), strict=True))


def _drawn(metric: Metric, sides: Sequence[Sequence[Sample]], unit_of: dict[str, Unit], resamples: int) -> list[Array]:
    """The metric of each side, mean over its seeds, in the same resamples of clusters; each of shape (resamples,)."""
    samples = [s for side in sides for s in side]
    sizes = levels(unit_of.values())
    units = [np.array([unit_of[i] for i in s.items], dtype=np.intp).reshape(len(s), len(sizes)) for s in samples]
    ends = list(accumulate(len(side) for side in sides))
    found: list[list[Array]] = [[] for _ in sides]
    for weights in draws(units, sizes, resamples, _rng(metric)):
        values = resampled(metric, samples, weights)
        for of_side, side, end in zip(found, sides, ends, strict=True):
            of_side.append(values[:, end - len(side) : end].mean(axis=1))
    return [np.concatenate(parts) for parts in found]


def _by_bootstrap(
    metric: Metric,
    old: Sequence[Sample],
    new: Sequence[Sample],
    unit_of: dict[str, Unit],
    alpha: float,
    change: Callable[[], Array],
) -> Comparison:
    """`change` gives what resamples of the clusters change, new − old."""
    before, after = _observations(metric, old), _observations(metric, new)
    changed = [unit for item, unit in unit_of.items() if before[item] != after[item]]
    n, clusters, sign = len(unit_of), min(levels(unit_of.values())), _sign(metric)
    if not changed:
        return Comparison(0.0, 0.0, 1.0, 1.0, "bootstrap", n, clusters, 0.0)
    gain = sign * (value(metric, new) - value(metric, old))
    none = Comparison(gain, math.nan, 1.0, 1.0, "bootstrap", n, clusters, math.nan)
    if clusters < 2:
        return none
    drawn = sign * change()
    gains = drawn[np.isfinite(drawn)]
    if 2 * len(gains) < len(drawn):
        return none
    # With few changed units the bootstrap is too sure of itself: where all of five got worse, only 0.7 % of
    # the resamples draw none of them. No sign test of k units goes below 2^-k, so neither does this one; where
    # clusters are crossed, the factor with the fewest changed levels counts.
    floor = 0.5 ** min(levels(changed))
    p_worse = max(floor, (1 + int((gains >= 0).sum())) / (1 + len(gains)))
    p_better = max(floor, (1 + int((gains <= 0).sum())) / (1 + len(gains)))
    low, spread = float(np.quantile(gains, alpha)), float(gains.std(ddof=1)) * math.sqrt(clusters)
    return Comparison(gain, low, p_worse, p_better, "bootstrap", n, clusters, spread)


def _binomial_tail(k: int, n: int) -> float:
    """P(X >= k) for X ~ Binomial(n, 1/2), exactly: integers of any size, one division."""
    # C(n, n), C(n, n - 1), ..., C(n, k), each from the one before
    ways = accumulate(range(n, k, -1), lambda c, j: c * j // (n - j + 1), initial=1)
    return sum(ways) / 2**n


def _sign_flip(sums: Array, rng: np.random.Generator) -> tuple[float, float]:
    """One-sided p-values (worse, better) of the total of `sums`, (units,), when each sign could be either."""
    n, total, slack = len(sums), float(sums.sum()), ROUNDING * float(np.abs(sums).sum())
    exact = n <= EXACT_UNITS
    if exact:
        kept = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        totals = 2 * (kept @ sums) - total
    else:
        flips = (rng.integers(2, size=(rows, n), dtype=bool) for rows in blocks(FLIPS, n))
        totals = 2 * np.concatenate([kept @ sums for kept in flips]) - total
    below, above = int((totals <= total + slack).sum()), int((totals >= total - slack).sum())
    if exact:
        return below / 2**n, above / 2**n
    return (1 + below) / (1 + FLIPS), (1 + above) / (1 + FLIPS)


def _sign(metric: Metric) -> int:
    return -1 if metric.better == "lower" else 1


def _change(before: Array, after: Array) -> Array:
    """`after - before`, with rounding noise put to zero."""
    change = after - before
    return np.where(np.abs(change) <= ROUNDING * np.maximum(np.abs(before), np.abs(after)), 0.0, change)


def _item_means(metric: Metric, seeds: Sequence[Sample], items: Iterable[str]) -> Array:
    """The metric's column for each of `items`, averaged over the seeds that have the item; shape (items,)."""
    (column,) = metric.inputs
    place = {item: n for n, item in enumerate(items)}
    total, count = np.zeros(len(place)), np.zeros(len(place))
    for sample in seeds:
        where = [place[i] for i in sample.items]
        total[where] += sample.columns[column]
        count[where] += 1
    return total / count


def _observations(metric: Metric, seeds: Sequence[Sample]) -> dict[str, list[tuple[float, ...]]]:
    """What was recorded for each item, one tuple of columns per seed, in no seed's order."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for sample in seeds:
        rows = zip(*(sample.columns[c].tolist() for c in metric.inputs), strict=True)
        for item, row in zip(sample.items, rows, strict=True):
            found.setdefault(item, []).append(row)
    return {item: sorted(rows) for item, rows in found.items()}


def _rng(metric: Metric) -> np.random.Generator:
    return np.random.default_rng(int(digest(metric.id), 16))
