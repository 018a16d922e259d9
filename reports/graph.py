"""A graph in layers as inline SVG: the input at the bottom, each node above those that it may read.

Nodes of a layer stand in a row, heads of one number above each other, so that two pictures can be compared by eye,
MLPs in a column of their own, half a row above the heads that they read. Pure functions; colours come by class.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby
from typing import Any

from .scales import tick_text
from .svg import COLOURS, TEXT, figure, short, tag, text

MOST_EDGES = 200
"""Edges that are drawn: the strongest ones."""
CROWDED = 10
"""Nodes of a row from which only the last part of a name stands in its box."""
LETTERS = ("q", "k", "v")
"""Kinds of edges that enter a node left, in the middle and right."""
KINDS = {"found": "s2", "missed": "s4 dashed", "false": "s1"}
"""Colours of kinds; of any other kind the next of the palette."""
ROW, HALF, TALL = 78.0, 34.0, 20.0
BOWS = (0.0, 40.0, -40.0, 75.0, -75.0, 110.0, -110.0, 160.0, -160.0)
"""How far a line may be bent aside, in pixels, as tried."""
GAPS, WIDE = (14.0, 120.0), 800.0
"""Least and largest gap between boxes, and the width up to which gaps are widened, so that lines find a way."""


@dataclass(frozen=True)
class Node:
    """A node and where its middle is, in pixels."""

    id: str
    layer: float
    kind: str
    label: str
    note: str
    wide: float
    tall: float
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class Edge:
    """An edge that is drawn."""

    source: str
    target: str
    weight: float
    kind: str


def is_layered(nodes: Sequence[Any], edges: Sequence[Any]) -> bool:
    """Whether a graph says of every node its layer, and of every edge its ends: only then it can be drawn."""
    return (
        bool(nodes)
        and all(isinstance(n, Mapping) and "layer" in n and "id" in n for n in nodes)
        and all(isinstance(e, Mapping) and "source" in e and "target" in e for e in edges)
    )


def layered(title: str, nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The figure, and what must be said below it. Raises KeyError where an edge ends at an unknown node, ValueError for
    a number that is none."""
    known = [str(node["id"]) for node in nodes]
    found = [_edge(edge, set(known)) for edge in edges]
    drawn = sorted(found, key=lambda e: -abs(e.weight))[:MOST_EDGES]
    note = f"{len(known)} nodes, {len(found)} edges."
    if len(drawn) < len(found):
        ends = {end for edge in drawn for end in (edge.source, edge.target)}
        nodes = [node for node in nodes if str(node["id"]) in ends]
        note += f" The {len(drawn)} strongest edges are drawn, with the {len(nodes)} nodes at their ends."
    return _drawn(title, _placed(nodes), drawn), note


def _edge(edge: Mapping[str, Any], known: set[str]) -> Edge:
    found = Edge(str(edge["source"]), str(edge["target"]), float(edge.get("weight", 1.0)), str(edge.get("kind", "")))
    for end in (found.source, found.target):
        if end not in known:
            raise KeyError(end)
    if not math.isfinite(found.weight):
        raise ValueError(f"weight of {found.source} to {found.target} is not finite")
    return found


def _placed(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Node]:
    """Every node with its place, by name, rows from the bottom to the top."""
    rows: dict[float, list[Mapping[str, Any]]] = {}
    for node in nodes:
        rows.setdefault(float(node["layer"]), []).append(node)
    boxes = {
        layer: [_box(node, crowded=sum(n.get("kind") != "mlp" for n in row) >= CROWDED) for node in row]
        for layer, row in sorted(rows.items())
    }
    heads = {layer: [n for n in row if n.kind == "head"] for layer, row in boxes.items()}
    columns: dict[int, float] = {}
    for row in heads.values():
        for number, box in zip(_numbers(row), row, strict=True):
            columns[number] = max(box.wide, columns.get(number, 0.0))
    gap = min(max((WIDE - sum(columns.values())) / max(1, len(columns) - 1), GAPS[0]), GAPS[1])
    width = sum(columns.values()) + gap * max(0, len(columns) - 1)
    left = 84 + TEXT * max((len(_row_name(layer, row)) for layer, row in boxes.items()), default=0)
    mlps = max((n.wide for row in boxes.values() for n in row if n.kind == "mlp"), default=0.0)
    column = left + width + (width and 48) + mlps / 2
    centre = left + width / 2 if width else column
    middles, x = {}, left
    for number, wide in sorted(columns.items()):
        middles[number] = x + wide / 2
        x += wide + gap
    placed: dict[str, Node] = {}
    for level, (layer, row) in enumerate(reversed(boxes.items())):
        y = 44 + level * ROW
        for number, box in zip(_numbers(heads[layer]), heads[layer], strict=True):
            placed[box.id] = replace(box, x=middles[number], y=y)
        others = [n for n in row if n.kind not in ("head", "mlp")]
        x = centre - (sum(n.wide for n in others) + gap * max(0, len(others) - 1)) / 2
        for box in others:
            placed[box.id] = replace(box, x=x + box.wide / 2, y=y)
            x += box.wide + gap
        for box in (n for n in row if n.kind == "mlp"):
            placed[box.id] = replace(box, x=column, y=y - HALF)
    return placed


def _box(node: Mapping[str, Any], crowded: bool) -> Node:
    name, kind, note = str(node["id"]), str(node.get("kind", "")), str(node.get("note", ""))
    label = str(node.get("label", name.rpartition(".")[2] if crowded and kind == "head" else name))
    wide = TEXT * max(min(len(label), 18), 0.85 * min(len(note), 16)) + 14
    return Node(name, float(node["layer"]), kind, label, note, max(wide, 34.0), TALL + 12 * bool(note))


def _numbers(row: Sequence[Node]) -> list[int]:
    """Columns of heads: the numbers at the end of their names, or else their places in the row."""
    found = [int(match[0]) for node in row if (match := re.search(r"\d+$", node.id))]
    return found if len(set(found)) == len(row) else list(range(len(row)))


def _row_name(layer: float, row: Sequence[Node]) -> str:
    return f"block {layer:g}" if any(n.kind in ("head", "mlp") for n in row) else ""


def _drawn(title: str, nodes: Mapping[str, Node], edges: Sequence[Edge]) -> str:
    largest = max((abs(e.weight) for e in edges), default=0.0) or 1.0
    others = sorted({e.kind for e in edges} - {"", *LETTERS, *KINDS})
    kinds = [*(kind for kind in KINDS if any(e.kind == kind for e in edges)), *others]
    colours = {kind: KINDS.get(kind, f"s{(n + 3) % COLOURS}") for n, kind in enumerate(kinds)}
    # The strongest last, above the others.
    lines = [_line(e, nodes, abs(e.weight) / largest, colours) for e in reversed(edges)]
    boxes = [_boxed(n, edges) for n in nodes.values()]
    rows = [list(row) for _, row in groupby(nodes.values(), key=lambda n: n.layer)]
    labels = [text(_row_name(r[0].layer, r), 4, _base(r) + 4, class_="label") for r in rows if _row_name(r[0].layer, r)]
    right = max(n.x + n.wide / 2 for n in nodes.values())
    bottom = max(n.y + n.tall / 2 for n in nodes.values())
    legend, wide = _legend(edges, colours, largest, bottom + 34)
    # Lines may bow to the right of all nodes.
    return figure(title, max(right + 70, wide), bottom + 48, *labels, *lines, *boxes, *legend)


def _base(row: Sequence[Node]) -> float:
    return max(n.y for n in row)


def _line(edge: Edge, nodes: Mapping[str, Node], share: float, colours: Mapping[str, str]) -> str:
    start, end = nodes[edge.source], nodes[edge.target]
    colour = colours.get(edge.kind, "s0" if edge.weight < 0 else "s1")
    shift = (LETTERS.index(edge.kind) - 1) * end.wide / 4 if edge.kind in LETTERS else 0.0
    kind = f" ({edge.kind})" if edge.kind else ""
    # What was missed mostly has a small weight, and must be seen all the same.
    faintest = 0.7 if edge.kind in colours else 0.35
    hint = tag("title", escape(f"{edge.source} → {edge.target}{kind}: {_signed(edge.weight)}"))
    return tag(
        "path",
        hint,
        d=_way(start, end, shift, nodes),
        class_=f"edge {colour}",
        stroke_width=1 + 4 * share,
        stroke_opacity=f"{faintest + (0.95 - faintest) * share:.2f}",
    )


def _signed(weight: float) -> str:
    return tick_text(float(f"{weight:.4g}"))


def _way(start: Node, end: Node, shift: float, nodes: Mapping[str, Node]) -> str:
    """A curve from the top of one box to the bottom of another, bowed aside as little as keeps it off other boxes."""
    a, b = (start.x, start.y - start.tall / 2), (end.x + shift, end.y + end.tall / 2)
    between = [n for n in nodes.values() if n.id not in (start.id, end.id) and b[1] < n.y < a[1]]
    bend = max(8.0, abs(a[1] - b[1]) * 0.4)
    best, fewest = ((a, a, b, b), len(between) + 1)
    for bow in BOWS:
        way = (a, (a[0] + bow, a[1] - bend), (b[0] + bow, b[1] + bend), b)
        crossed = sum(_through(way, node) for node in between)
        if crossed < fewest:
            best, fewest = way, crossed
        if not crossed:
            break
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = best
    return f"M{x0:.1f},{y0:.1f} C{x1:.1f},{y1:.1f} {x2:.1f},{y2:.1f} {x3:.1f},{y3:.1f}"


def _through(way: Sequence[tuple[float, float]], node: Node) -> bool:
    """Whether a cubic curve enters a node's box, at 24 points of it."""
    for k in range(1, 24):
        t = k / 24
        parts = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        x, y = (sum(p * point[i] for p, point in zip(parts, way, strict=True)) for i in (0, 1))
        if abs(x - node.x) < node.wide / 2 + 2 and abs(y - node.y) < node.tall / 2 + 2:
            return True
    return False


def _boxed(node: Node, edges: Sequence[Edge]) -> str:
    into, out = sum(e.target == node.id for e in edges), sum(e.source == node.id for e in edges)
    said = f"{node.id}: {node.note}" if node.note else node.id
    hint = tag("title", escape(f"{said}; {into} edges in, {out} out"))
    at = {"x": node.x - node.wide / 2, "y": node.y - node.tall / 2, "width": node.wide, "height": node.tall}
    kind = node.kind if node.kind in ("head", "mlp") else "end"
    parts = [hint, tag("rect", **at, rx=9 if kind == "mlp" else 3, class_=f"node {kind}{' noted' * bool(node.note)}")]
    first = node.y + 4 - 6 * bool(node.note)
    parts.append(text(short(node.label, 18), node.x, first, anchor="middle"))
    if node.note:
        parts.append(text(short(node.note, 16), node.x, first + 13, anchor="middle", class_="node-note"))
    return tag("g", *parts)


def _legend(edges: Sequence[Edge], colours: Mapping[str, str], largest: float, y: float) -> tuple[list[str], float]:
    """Samples of the lines that occur, in one row, and the row's width."""
    plain = [e for e in edges if e.kind not in colours]
    samples = [(colour, kind) for kind, colour in colours.items()]
    samples += [("s0", "negative weight")] * any(e.weight < 0 for e in plain)
    samples += [("s1", "positive weight")] * any(e.weight >= 0 for e in plain)
    parts, x = [], 4.0
    for colour, name in samples:
        parts.append(tag("line", x1=x, y1=y - 4, x2=x + 22, y2=y - 4, class_=f"edge {colour}", stroke_width=3))
        parts.append(text(name, x + 28, y, class_="label"))
        x += 28 + TEXT * len(name) + 18
    said = [f"widest: {tick_text(float(f'{largest:.3g}'))}"] * bool(edges)
    said += ["queries, keys and values enter left, middle and right"] * any(e.kind in LETTERS for e in edges)
    parts.append(text("; ".join(said), x, y, class_="label"))
    return parts, x + TEXT * len("; ".join(said))
