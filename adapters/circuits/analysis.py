"""What a scorer is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..lm.graph.nodes import Graph, Mask
from ..lm.graph.pairs import Pair
from ..lm.graph.params import Ablation, Target
from ..lm.graph.wiring import Wiring


@dataclass(frozen=True)
class Study:
    """Pairs on which the edges or nodes of a model are scored."""

    wiring: Wiring
    pairs: Sequence[Pair]
    target: Target
    ablation: Ablation
    batch: int
    """Pairs (or rows) in one forward pass; its effect is float noise."""
    rng: Callable[[str], np.random.Generator]
    """A generator for a purpose, seeded with the cell's seed."""
    progress: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True)
class Attribution:
    """A score for every edge, or for every source when nodes are scored, of every pair.

    A score estimates how the target changes when the edge (or node) is ablated and all else is left as it is, so what
    is useful is negative.
    """

    graph: Graph
    granularity: str
    """`edge` or `node`."""
    by_pair: NDArray[np.float32]
    """Shape (pairs, edges) in the order of `graph.edges`, or (pairs, sources); shape (1, …) of a scorer that has but
    one score for all pairs together."""
    kept: Mask | None = None
    """The circuit, where the scorer itself decides what belongs to it."""

    def scores(self, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Mean over the pairs, shape (edges,) or (sources,), under `weights` of shape (pairs,): those of a bootstrap
        sample, say."""
        n = len(self.by_pair)
        weights = np.ones(n) if weights is None or n == 1 else weights
        found: NDArray[np.float64] = weights @ self.by_pair.astype(np.float64) / weights.sum()
        return found
