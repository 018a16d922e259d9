"""What is said of a circuit that was found: as JSON, as Graphviz text, as a page's exhibits, in tables and warnings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ... import __version__
from .exhibits import edge_weights, graph_exhibit, nodes_exhibit
from .found import Found

_ABLATED = "change of the target when an edge or node is ablated, all else as it is; what is useful is negative"
SENSE = {
    "gradient": f"estimated {_ABLATED}",
    "integrated_gradients": f"estimated {_ABLATED}",
    "exact": _ABLATED,
    "path_patching": "change of the target when an edge is ablated and the MLPs behind it compute anew; what is useful "
    "is negative",
    "acdc": "change of the target when an edge was tested in what was left of the model; what is useful is negative, "
    "untested edges have 0",
    "learned_mask": "minus how far an edge's learned gate is open; −1 is open, 0 is closed",
    "information_flow": "minus the share of a source in what a destination reads; it knows of no target",
    "random": "random numbers, which say nothing",
}
"""What a score of each scorer is."""
UNSURE = 0.75
"""Right answers above wrong ones on fewer pairs than this share, half-way from chance to always, are warned of."""
SHOWN = 20
"""Scores in a table."""
WHO = ("model", "circuit", "empty")
NUMBERS = ("", "model", "circuit", "every edge ablated")
"""Heads of `numbers`."""
SCORES = ("score", "95 % interval", "in the circuit")
"""Heads of `strongest`, after the name."""
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
        "chosen": [graph.name(s, d) for s, d in graph.edges if found.chosen[s, d]],
        "circuit": [graph.name(s, d) for s, d in graph.edges if found.circuit[s, d]],
        "warnings": warnings(found),
        "values": {name: _number(value) for name, value in found.values.items()},
    }


def _number(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None


def sense(found: Found) -> str:
    """What the scores are."""
    sizes = "; means of their sizes, with a minus" if found.analyzer.reduction == "mean_magnitude" else ""
    return f"Scores: {SENSE[found.analyzer.scorer.type]}{sizes}."


def size(found: Found) -> str:
    """`30 edges chosen, 25 left without dead ends`."""
    left = f"{found.circuit.sum()} left without dead ends" if found.analyzer.prune else "dead ends are not pruned"
    return f"{found.chosen.sum()} edges chosen, {left}"


def warnings(found: Found) -> list[str]:
    """What makes the circuit worth little, a sentence each."""
    v, said = found.values, []
    if not found.graph.prune(found.chosen).any():
        said.append(
            f"the {found.chosen.sum()} edges that were chosen do not reach from input to logits, so there is no "
            "circuit; choose more of them, or the method's `selector: {type: greedy}`, which goes from edge to edge"
        )
    if not math.isfinite(v["faithfulness"]):
        said.append(
            f"the target is no higher for the model ({_short(v['model'])}) than with every edge ablated "
            f"({_short(v['empty'])}): the model does not do this task, so there is no circuit for it"
        )
    if v["accuracy.model"] < UNSURE:
        said.append(
            f"the model puts the right answer above the wrong one on {100 * v['accuracy.model']:.0f} % of the pairs "
            "(chance: about 50 %): a circuit for what it cannot do says little"
        )
    if found.surrounded:
        said.append("the model keeps inserted modules or a prompt: the graph is that of the path taken")
    return said


def numbers(found: Found) -> Iterator[tuple[str, ...]]:
    """What is measured, then its values for the model, the circuit, and with every edge ablated."""
    v, graph = found.values, found.graph
    masks = (graph.allowed, found.circuit, np.zeros_like(found.circuit))
    yield "edges", *(str(mask.sum()) for mask in masks)
    yield "nodes", *(str(len(graph.nodes_in(mask))) for mask in masks)
    yield _target(found), *(_short(v[who]) for who in WHO)
    yield "faithfulness", "1", _short(v["faithfulness"]), "0"
    for name, prefix in (("right above wrong", "accuracy"), ("Hit@1", "hit1"), ("Hit@10", "hit10")):
        yield name, *(_short(v[f"{prefix}.{who}"]) for who in WHO)


def strongest(found: Found) -> Iterator[tuple[str, ...]]:
    """Names, scores, intervals of the largest scores, and whether they are in the circuit."""
    places = tuple(found.graph.edges.T)
    nodes = found.attribution.granularity == "node"
    chosen, kept = (np.asarray(mask.any(1) if nodes else mask[places]) for mask in (found.chosen, found.circuit))
    for i in np.argsort(-np.abs(found.scores), kind="stable")[:SHOWN]:
        score, half = found.scores[i], None if found.spread is None else found.spread[i]
        span = "–" if half is None else f"[{_short(score - half)}, {_short(score + half)}]"
        yield found.names[i], _short(score), span, "yes" if kept[i] else "dead end" if chosen[i] else "no"


def _short(value: float) -> str:
    # Adding 0 takes the sign from what is rounded to nothing.
    return f"{round(value, 6) + 0.0:.3g}".replace("-", "−") if math.isfinite(value) else "–"


def _target(found: Found) -> str:
    return found.analyzer.target.type.replace("_", " ")


def lead(found: Found) -> str:
    """A circuit in a paragraph, after one for each warning."""
    v, graph = found.values, found.graph
    said = (
        f"{found.method} on {found.model}, {found.pairs} pairs: {size(found)}, of {len(graph.edges)}. On these pairs "
        f"the target ({_target(found)}) is {_short(v['model'])} for the model, {_short(v['circuit'])} for the circuit "
        f"alone and {_short(v['empty'])} with every edge ablated."
    )
    return "\n".join([*(f"Warning: {text}." for text in warnings(found)), said])


def page_exhibits(found: Found) -> list[Mapping[str, Any]]:
    """The graph, the numbers, faithfulness over sizes, the strongest scores, nodes by block, settings, and a pair."""
    graph, nodes = found.graph, found.attribution.granularity == "node"
    drawn = graph_exhibit("Circuit", graph, found.circuit, edge_weights(found.analyzer, found.attribution))
    shared = (
        f"The circuit has {found.circuit.sum()} edges; one into shared keys or values is drawn to each of their heads."
    )
    notes = [shared] * (len(drawn["edges"]) > int(found.circuit.sum())) + ["An edge has its source's score."] * nodes
    settings = [(name, _plain(value)) for name, value in found.spec.items() if name != "type"]
    of = "node" if nodes else "edge"
    return [
        {**drawn, "note": " ".join(notes)},
        _table("On the pairs the circuit was found on", NUMBERS, numbers(found)),
        *([_curve(found)] if found.curve else []),
        {**_table(f"Strongest {of}s", (of, *SCORES), strongest(found)), "note": sense(found)},
        nodes_exhibit("Nodes of the circuit by block", graph, found.circuit),
        _table("Settings of the method", ("", found.method), settings),
        _table("The first pair", ("", ""), found.first.items()),
    ]


def _table(title: str, heads: Iterable[str], rows: Iterable[Sequence[str]]) -> dict[str, Any]:
    return {"type": "table", "title": title, "heads": list(heads), "rows": [list(row) for row in rows]}


def _plain(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return ", ".join(_plain(inner) if name == "type" else f"{name} {_plain(inner)}" for name, inner in value.items())


def _curve(found: Found) -> dict[str, Any]:
    x, y, low, high = ([_number(v) for v in column] for column in zip(*found.curve, strict=True))
    share, faithfulness = found.chosen.sum() / len(found.graph.edges), _number(found.values["faithfulness"])
    # Nothing has no place on a logarithmic axis.
    this = [{"name": "this circuit", "x": [_number(share)], "y": [faithfulness]}] * bool(share)
    return {
        "type": "curve",
        "title": "Faithfulness of circuits by size, on the pairs they were found on (95 % over bootstrap samples)",
        "x_label": "share of edges, before dead ends are pruned",
        "y_label": "faithfulness",
        "series": [{"name": found.method, "x": x, "y": y, "low": low, "high": high}, *this],
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
