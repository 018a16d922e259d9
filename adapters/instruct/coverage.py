"""Choose vectors that are unlike each other, or stand for all: greedy filter, k-means, facility location, k-center.

Vectors have length 1 or 0, dense or sparse, shape (rows, width). Similarities of all rows to some are computed in
blocks; no matrix of all to all is ever held.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Literal

import numpy as np

from .embedding import Vectors

BLOCK = 128
"""Rows that are compared with all others at once: 51 MB of float64 with 50,000."""
RETRIED = 16
"""Rows whose gain is computed anew at once, in facility location."""


@dataclass(frozen=True)
class Near:
    """The kept row that another one is nearest to."""

    value: float | None = None
    """Similarity or distance; None where nothing was compared."""
    to: int | None = None
    """Its number."""


def cosines(vectors: Vectors, others: Vectors) -> np.ndarray:
    """Shape (rows of `vectors`, rows of `others`), float64, at most 1."""
    dense = others if isinstance(others, np.ndarray) else others.toarray()
    # A sparse matrix times a dense one is dense, and quicker than two sparse ones.
    return np.minimum(vectors @ dense.T, 1.0, dtype=np.float64)


def squared(vectors: Vectors) -> np.ndarray:
    """Squared lengths, shape (rows,), float64."""
    squares = vectors**2 if isinstance(vectors, np.ndarray) else vectors.multiply(vectors)
    return np.asarray(squares.sum(1), dtype=np.float64).ravel()


def distances(vectors: Vectors, others: Vectors, own: np.ndarray | None = None) -> np.ndarray:
    """Euclidean, shape (rows of `vectors`, rows of `others`), float64; `own`: `squared` of `vectors`, if known."""
    own = squared(vectors) if own is None else own
    squares = own[:, None] + squared(others)[None] - 2 * cosines(vectors, others)
    # Below the rounding of float32 two vectors are the same.
    return np.sqrt(np.where(squares < 1e-6, 0.0, squares))


def apart(
    vectors: Vectors, order: Sequence[int], threshold: float, most: int | None = None
) -> tuple[list[int], list[Near]]:
    """Rows in this order, each kept unless its cosine to one kept before is above the threshold; `most` at most.

    Returns the kept ones, and for each row the one that it is most like of those kept before it; nothing for rows after
    the last that is kept.
    """
    kept: list[int] = []
    near = [Near()] * vectors.shape[0]
    for start in range(0, len(order), BLOCK):
        block = list(order[start : start + BLOCK])
        nearest = [Near()] * len(block)
        if kept:
            like = cosines(vectors[kept], vectors[block])
            nearest = [Near(float(like[best, c]), kept[best]) for c, best in enumerate(like.argmax(0).tolist())]
        inner = cosines(vectors[block], vectors[block]).tolist()
        fresh: list[int] = []
        for column, (i, found) in enumerate(zip(block, nearest, strict=True)):
            if len(kept) == most:
                return kept, near
            for other in fresh:
                if found.value is None or inner[other][column] > found.value:
                    found = Near(inner[other][column], block[other])
            near[i] = found
            if found.value is None or found.value <= threshold:
                kept.append(i)
                fresh.append(column)
    return kept, near


def clusters(vectors: Vectors, number: int, seed: int) -> list[list[int]]:
    """Members of each cluster, the nearest to its centre first, the earlier of equals first; none is empty."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    model = KMeans(number, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        # Fewer unlike rows than clusters is no mistake of anyone's: some clusters are empty then.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = model.fit_predict(vectors)
    found = []
    for cluster in range(number):
        members = np.flatnonzero(labels == cluster)
        far = distances(vectors[members], model.cluster_centers_[cluster][None])[:, 0]
        found.append([int(i) for i in members[np.argsort(far, kind="stable")]])
    return [members for members in found if members]


def spread(members: Sequence[int], values: Sequence[float | None], number: int, band: tuple[float, float]) -> list[int]:
    """Of a cluster, `number` rows, in their order evenly spread over those whose value is between two percentiles of
    the members'; all members where they are fewer. Rows without a value are left out."""
    known = sorted(i for i in members if values[i] is not None)
    if len(known) < number:
        return known
    own = np.array([values[i] for i in known], dtype=float)
    low, high = np.percentile(own, band)
    inside = [i for i, value in zip(known, own, strict=True) if low <= value <= high]
    return inside[:: max(1, len(inside) // number)][:number]


def facility_location(
    vectors: Vectors, number: int, similarity: Literal["euclidean", "cosine"]
) -> tuple[list[int], list[Near]]:
    """Greedy maximum of Σᵢ max_{j chosen} similarity(i, j); the earlier of equals first.

    Returns the chosen rows, in the order of their gains, and for each row the chosen one that stands for it. Lazy
    (Minoux 1978): a row's gain never grows while others are chosen, so an old gain is a bound, and only rows whose
    bound is the largest are computed anew.
    """

    def to_all(columns: Sequence[int] | slice) -> np.ndarray:
        others = vectors[columns]
        if similarity == "cosine":
            return np.maximum(cosines(vectors, others), 0)
        return 1 / (1 + distances(vectors, others, own))

    total, own = vectors.shape[0], squared(vectors)
    covered, by = np.zeros(total), np.full(total, -1)
    gains = np.concatenate([to_all(slice(start, start + BLOCK)).sum(0) for start in range(0, total, BLOCK)])
    heap = [(-gain, i) for i, gain in enumerate(gains.tolist())]
    heapify(heap)
    known_at = np.zeros(total, dtype=int)
    chosen: list[int] = []
    while len(chosen) < min(number, total):
        stale: list[int] = []
        while heap and len(stale) < RETRIED and known_at[heap[0][1]] < len(chosen):
            stale.append(heappop(heap)[1])
        if stale:
            known_at[stale] = len(chosen)
            for i, gain in zip(stale, np.maximum(to_all(stale) - covered[:, None], 0).sum(0).tolist(), strict=True):
                heappush(heap, (-gain, i))
            continue
        _, best = heappop(heap)
        column = to_all([best])[:, 0]
        better = column > covered
        covered[better], by[better] = column[better], best
        chosen.append(best)
    return chosen, [Near(float(value), int(to) if to >= 0 else None) for value, to in zip(covered, by, strict=True)]


def k_center(vectors: Vectors, number: int) -> tuple[list[int], list[Near]]:
    """Always the row that is farthest from those chosen before; the earlier of equals first (Gonzalez 1985).

    Returns the chosen rows in their order, and the distance of each row to the nearest of them. The first is the one
    with the largest cosine to the mean of all.
    """
    mean = np.asarray(vectors.mean(0)).reshape(1, -1)
    chosen: list[int] = []
    best, own = int(np.argmax(cosines(vectors, mean)[:, 0])), squared(vectors)
    far, by = np.full(vectors.shape[0], np.inf), np.full(vectors.shape[0], -1)
    while len(chosen) < min(number, len(far)):
        chosen.append(best)
        column = distances(vectors, vectors[[best]], own)[:, 0]
        nearer = column < far
        far[nearer], by[nearer] = column[nearer], best
        open_ = far.copy()
        open_[chosen] = -1
        best = int(np.argmax(open_))
    return chosen, [Near(float(value), int(to)) for value, to in zip(far, by, strict=True)]
