"""From scores to a circuit. Numpy only."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ..lm.graph.nodes import Graph, Mask
from .analysis import Attribution
from .methods.analyzer import Analyzer, By, Greedy, Threshold

Numbers = NDArray[np.float64]


def reduced(analyzer: Analyzer, attribution: Attribution, weights: Numbers | None = None) -> Numbers:
    """One score for each edge (or source) from those of the pairs, under `weights` of shape (pairs,).

    `mean_magnitude` is the mean of the sizes with a minus, so that what matters is negative as under `mean`. Raises
    ModelError for scores that are no numbers.
    """
    if not np.isfinite(attribution.by_pair).all():
        raise ModelError("some scores are not finite numbers; use dtype float32 or bfloat16")
    if analyzer.reduction == "mean":
        return attribution.scores(weights)
    sizes = -np.abs(attribution.by_pair)
    return Attribution(attribution.graph, attribution.granularity, sizes).scores(weights)


def cut(analyzer: Analyzer, attribution: Attribution, edges: int) -> Mask:
    """A circuit of at most `edges` edges; of as many, before dead ends are pruned, where edges are scored.

    The best by `magnitude` have the largest scores of either sign; those by `helpful` the most negative ones, also
    beyond zero when there are not enough, as signed selection is in EAP-IG and MIB. Of equals the first edge counts.
    With as many edges as there are, the circuit is the whole model.
    """
    graph, worth = attribution.graph, worth_of(reduced(analyzer, attribution), analyzer.selector.by)
    if edges >= len(graph.edges):
        return graph.allowed.copy()
    if attribution.granularity == "node":
        found = _best_nodes(graph, worth, edges)
    elif isinstance(analyzer.selector, Greedy):
        found = _greedy(graph, worth, edges)
    else:
        found = _of_edges(graph, _order(worth)[:edges])
    return graph.prune(found) if analyzer.prune else found


def own(analyzer: Analyzer, attribution: Attribution) -> Mask | None:
    """The circuit that the scorer decided on (ACDC, learned masks) or a threshold does; None where a size has to."""
    graph, found = attribution.graph, attribution.kept
    if found is None and isinstance(analyzer.selector, Threshold):
        chosen = worth_of(reduced(analyzer, attribution), analyzer.selector.by) >= analyzer.selector.threshold
        if attribution.granularity == "node":
            found = graph.of_nodes(chosen)
        else:
            found = _of_edges(graph, np.flatnonzero(chosen))
    return graph.prune(found) if found is not None and analyzer.prune else found


def worth_of(scores: Numbers, by: By) -> Numbers:
    """What edges or sources are ranked by: the higher the better."""
    return np.abs(scores) if by == "magnitude" else -scores


def _order(worth: Numbers) -> NDArray[np.int64]:
    """Places from the best to the worst; of equals the first one first."""
    return np.argsort(-worth, kind="stable")


def _of_edges(graph: Graph, chosen: NDArray[np.int64]) -> Mask:
    found = np.zeros_like(graph.allowed)
    found[tuple(graph.edges[chosen].T)] = True
    return found


def _best_nodes(graph: Graph, worth: Numbers, edges: int) -> Mask:
    """The best nodes, as many as have at most `edges` edges among each other, with `input` and `logits`."""
    order = _order(worth)
    order = order[order != 0]

    def best(count: int) -> Mask:
        nodes = np.zeros(len(graph.sources), dtype=bool)
        nodes[order[:count]] = True
        return graph.of_nodes(nodes)

    # The number of edges rises with that of nodes.
    count = bisect_right(range(len(order) + 1), edges, key=lambda n: int(best(n).sum())) - 1
    return best(count) if count >= 0 else np.zeros_like(graph.allowed)


def _greedy(graph: Graph, worth: Numbers, edges: int) -> Mask:
    """From the logits downwards, always the best edge into what is reached already (Hanna et al. 2024)."""
    into: list[list[tuple[float, int]]] = [[] for _ in graph.destinations]
    for number, destination in enumerate(graph.edges[:, 1]):
        into[destination].append((-worth[number], number))
    heap = list(into[graph.logits])
    heapify(heap)
    reached = {graph.logits}
    chosen: list[int] = []
    while heap and len(chosen) < edges:
        number = heappop(heap)[1]
        chosen.append(number)
        for destination in np.flatnonzero(graph.owners[:, graph.edges[number, 0]]).tolist():
            if destination not in reached:
                reached.add(destination)
                for edge in into[destination]:
                    heappush(heap, edge)
    return _of_edges(graph, np.array(chosen, dtype=np.int64))
