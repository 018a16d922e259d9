"""What is written of a circuit that was found: its scores as JSON, itself as Graphviz text and as a page's exhibits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ... import __version__
from .exhibits import exhibits
from .found import Found

SENSE = (
    "Scores: change of the target when an edge is ablated and all else is left as it is; what is useful is negative."
)
COLOURS = ("#1f5fa8", "#c2571a")
"""Of negative and positive scores, as the page has them on white."""


def scores_json(found: Found) -> dict[str, Any]:
    """The format of docs/formats.md, numbers with seven digits; null where a number is not defined."""
    graph = found.graph
    of = "nodes" if found.attribution.granularity == "node" else "edges"
    intervals = {}
    if found.spread is not None:
        intervals = {
            name: [_number(score - half), _number(score + half)]
            for name, score, half in zip(found.names, found.scores, found.spread, strict=True)
        }
    return {
        "format": 1,
        "kind": "circuit-scores",
        "benchwright": __version__,
        "model": found.model,
        "method": {"name": found.method, **found.spec},
        "target": found.analyzer.target.type,
        "n": found.pairs,
        "skipped": dict(found.skipped),
        "graph": {
            "layers": graph.layers,
            "heads": graph.heads,
            "kv_heads": graph.kv_heads,
            "parallel": graph.parallel,
        },
        of: {name: _number(score) for name, score in zip(found.names, found.scores, strict=True)},
        "intervals": intervals,
        "circuit": [graph.name(s, d) for s, d in graph.edges if found.circuit[s, d]],
        "values": {name: _number(value) for name, value in found.values.items()},
    }


def _number(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None


def lead(found: Found) -> str:
    """A circuit in a sentence or two."""
    v, graph, target = found.values, found.graph, found.analyzer.target.type.replace("_", " ")
    nodes = len(graph.nodes_in(found.circuit))
    shared = " An edge into shared keys or values is drawn to each head that shares them." * (graph.group > 1)
    return (
        f"{found.method} on {found.model}, {found.pairs} pairs: {found.circuit.sum()} of {len(graph.edges)} edges, "
        f"{nodes} nodes. On these pairs the target ({target}) is {v['model']:.3g} for the model, {v['circuit']:.3g} "
        f"for the circuit alone and {v['empty']:.3g} with every edge ablated. {SENSE}{shared}"
    )


def page_exhibits(found: Found) -> list[Mapping[str, Any]]:
    """The graph, faithfulness over sizes, and the nodes by block."""
    drawn = exhibits(found.analyzer, found.attribution, found.circuit, "")
    return [drawn["circuit"], *[_curve(found)] * bool(found.curve), drawn["nodes"]]


def _curve(found: Found) -> dict[str, Any]:
    x, y, low, high = ([_number(v) for v in column] for column in zip(*found.curve, strict=True))
    return {
        "type": "curve",
        "title": "Faithfulness of circuits by size, on the pairs they were found on (95 % over bootstrap samples)",
        "x_label": "share of edges",
        "y_label": "faithfulness",
        "series": [{"name": found.method, "x": x, "y": y, "low": low, "high": high}],
    }


def dot_text(exhibit: Mapping[str, Any]) -> str:
    """An exhibit of type `graph` for Graphviz: a row for each layer, widths by the size of the weight."""
    largest = max((abs(edge["weight"]) for edge in exhibit["edges"]), default=0.0) or 1.0
    lines = [f"label={_quoted(exhibit['title'])};", "rankdir=BT;", 'node [shape=box, fontname="sans-serif"];']
    rows: dict[int, list[str]] = {}
    for node in exhibit["nodes"]:
        rounded = ", style=rounded" if node["kind"] == "mlp" else ""
        label = "\n".join(filter(None, (node["id"], node.get("note"))))
        lines.append(f"{_quoted(node['id'])} [label={_quoted(label)}{rounded}];")
        if node["kind"] == "head":
            rows.setdefault(node["layer"], []).append(_quoted(node["id"]))
    lines += [f"{{rank=same; {'; '.join(row)};}}" for _, row in sorted(rows.items())]
    for edge in exhibit["edges"]:
        weight, kind = edge["weight"], edge.get("kind", "")
        style = f"penwidth={0.5 + 3.5 * abs(weight) / largest:.2f}, color={_quoted(COLOURS[weight >= 0])}"
        label = f"label={_quoted(kind)}, " if kind else ""
        ends = f"{_quoted(edge['source'])} -> {_quoted(edge['target'])}"
        lines.append(f'{ends} [{label}{style}, tooltip="{weight:.4g}"];')
    return "digraph circuit {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
