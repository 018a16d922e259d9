"""Pictures of a circuit, as data: the graph itself, and what kinds of node it has in each block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..lm.graph.nodes import Graph, Mask
from .analysis import Attribution
from .methods.analyzer import Analyzer
from .select import reduced


def exhibits(
    analyzer: Analyzer, attribution: Attribution, circuit: Mask, part: str, relation: str
) -> dict[str, dict[str, Any]]:
    """The circuit's picture and its nodes by block, by name of the exhibit, which begins with that of its part."""
    of = f" for {relation}" if relation else ""
    weights = edge_weights(analyzer, attribution)
    return {
        f"{part}-circuit": graph_exhibit(f"Circuit{of}", attribution.graph, circuit, weights),
        f"{part}-nodes": nodes_exhibit(f"Nodes of the circuit{of} by block", attribution.graph, circuit),
    }


def edge_weights(analyzer: Analyzer, attribution: Attribution) -> np.ndarray:
    """Score of every edge, shape (sources, destinations); of a method that scores nodes that of the edge's source."""
    graph, scores = attribution.graph, reduced(analyzer, attribution)
    found = np.zeros(graph.allowed.shape)
    if attribution.granularity == "node":
        found[graph.allowed] = np.broadcast_to(scores[:, None], found.shape)[graph.allowed]
    else:
        found[graph.edges[:, 0], graph.edges[:, 1]] = scores
    return found


def graph_exhibit(
    title: str, graph: Graph, circuit: Mask, weights: np.ndarray, notes: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """An exhibit of type `graph`; `notes`: what is known of a node, by name.

    Edges into queries, keys and values of a node stand apart, with the letter as their kind. Where heads share keys
    and values, an edge into those leads to each of them.
    """
    edges = []
    for source, destination in np.argwhere(circuit):
        name = graph.destinations[destination]
        ends = [graph.sources[node] for node in graph.nodes_of(int(destination))] or [name]
        kind = name[name.index("<") + 1] if "<" in name else ""
        for end in ends:
            edge = {
                "source": graph.sources[source],
                "target": end,
                "weight": float(f"{weights[source, destination]:.4g}"),
            }
            edges.append({**edge, "kind": kind} if kind else edge)
    shown = graph.nodes_in(circuit)
    ended = {edge["target"] for edge in edges}
    nodes = [_node(name, graph, notes or {}) for name in (*graph.sources, "logits") if name in shown or name in ended]
    return {"type": "graph", "title": title, "nodes": nodes, "edges": edges}


def _node(name: str, graph: Graph, notes: Mapping[str, str]) -> dict[str, Any]:
    if name in ("input", "logits"):
        node: dict[str, Any] = {"id": name, "layer": -1 if name == "input" else graph.layers, "kind": name}
    else:
        head = name.startswith("a")
        node = {"id": name, "layer": int(name[1:].partition(".")[0]), "kind": "head" if head else "mlp"}
    return {**node, "note": notes[name]} if name in notes else node


def nodes_exhibit(title: str, graph: Graph, circuit: Mask) -> dict[str, Any]:
    """Heads and MLPs of the circuit in each block, as shares of those that the block has."""
    shown = graph.nodes_in(circuit)
    heads = [sum(n.startswith(f"a{layer}.") for n in shown) / graph.heads for layer in range(graph.layers)]
    mlps = [float(f"m{layer}" in shown) for layer in range(graph.layers)]
    values = [[float(f"{v:.4g}") for v in row] for row in (heads, mlps)]
    columns = [str(layer) for layer in range(graph.layers)]
    return {"type": "matrix", "title": title, "rows": ["heads", "MLP"], "columns": columns, "values": values}
