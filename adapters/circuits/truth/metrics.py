"""How well a ranking of edges finds the true ones. Numpy only.

Edges with equal scores have no order. Each number is the mean over all orders that they could have, in closed form, so
that no method gains or loses by the order in which edges happen to be listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ....metrics import Metric

INTERPBENCH = "Gupta et al. 2024, InterpBench, arXiv 2407.14494"
TIES = "scikit-learn user guide, Ranking metrics; ties in expectation: McSherry and Najork 2008, ECIR"
TRUTHS = {
    "causal": "edges that carry a difference between a question and its counterpart",
    "wiring": "all edges that the construction uses, also those that do the same for both",
}
_SCORES = {
    "auroc": ("AUROC", "probability that a true edge is ranked above another one", INTERPBENCH),
    "ap": ("average precision", "mean over the true edges of the precision down to each", TIES),
    "precision": ("precision", "share of true edges among as many at the top as there are true ones", TIES),
}


def _metrics() -> Iterator[Metric]:
    for truth, meaning in TRUTHS.items():
        for score, (title, definition, source) in _SCORES.items():
            yield Metric(
                f"{score}.{truth}",
                f"{title} ({truth})",
                "higher",
                f"{definition}; true: {meaning}. Edges with equal scores are in any order with equal probability",
                source,
            )


METRICS = tuple(_metrics())
METRICS += (
    replace(METRICS[0], id="auroc.causal_by_design", columns=("auroc.causal",), by="design"),
    replace(METRICS[2], id="precision.causal_by_design", columns=("precision.causal",), by="design"),
)

Values = NDArray[np.float64]
Truth = NDArray[np.bool_]


def scores(worth: Values, true: Truth) -> dict[str, float]:
    """All scores by name, of edges of which the most worth come first. Both of shape (edges,); worth may be infinite.
    Needs a true edge and one that is not.

    >>> scores(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    {'auroc': 0.875, 'ap': 0.9166666666666666, 'precision': 0.75}
    """
    sizes, hits = _levels(worth, true)
    return {
        "auroc": _auroc(sizes, hits),
        "ap": _average_precision(sizes, hits),
        "precision": _precision(sizes, hits, int(true.sum())),
    }


def _levels(worth: Values, true: Truth) -> tuple[Values, Values]:
    """Number of edges, and of true ones, at each value, the highest first."""
    _, level = np.unique(-worth, return_inverse=True)
    return np.bincount(level).astype(float), np.bincount(level, weights=true).astype(float)


def _auroc(sizes: Values, hits: Values) -> float:
    """True edges above others, plus half of those beside them."""
    others = sizes - hits
    below = others.sum() - np.cumsum(others)
    return float((hits * (below + others / 2)).sum() / (hits.sum() * others.sum()))


def _average_precision(sizes: Values, hits: Values) -> float:
    """Of the n edges of a level, t of them true, behind N edges with P true ones: the one at place j is true with
    probability t/n, and then 1 + (j - 1)(t - 1)/(n - 1) true ones of the level are above or at it in the mean."""
    total, above, found = 0.0, 0.0, 0.0
    for n, t in zip(sizes, hits, strict=True):
        place = np.arange(1, n + 1)
        beside = (place - 1) * (t - 1) / max(n - 1, 1)
        total += float((t / n * (found + 1 + beside) / (above + place)).sum())
        above, found = above + n, found + t
    return float(total / found)


def _precision(sizes: Values, hits: Values, count: int) -> float:
    """A level that is cut through gives its share of true edges."""
    taken = np.clip(count - (np.cumsum(sizes) - sizes), 0, sizes)
    return float((taken * hits / sizes).sum() / count)
