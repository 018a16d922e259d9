"""Exhibits of a cell, made ready for the template: the closed set of types in docs/formats.md."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from ..errors import RunError
from ..store import Cell
from . import graph, svg

MOST = 5
"""Exhibits shown of one cell."""
MOST_ROWS = 40
"""Rows of a text pair, and edges of a graph, that are shown."""


@dataclass(frozen=True)
class Shown:
    """One exhibit. One of `svg`, `png` and `rows` at most has content; if none, `note` says why."""

    title: str
    svg: str = ""
    png: str = ""
    """Base64, checked to be nothing else."""
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class CellExhibits:
    """The exhibits of one cell that are shown, and how many more there are."""

    cell: str
    method: str
    seed: int
    shown: tuple[Shown, ...] = field(default_factory=tuple)
    hidden: int = 0


def exhibits(cell: Cell) -> CellExhibits | None:
    """The first exhibits of `cell`; None when it has none. Raises RunError where one is damaged."""
    found = list(cell.exhibits())
    if not found:
        return None
    shown = []
    for exhibit in islice(found, MOST):
        try:
            shown.append(show(exhibit))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            name = exhibit.get("title") or exhibit.get("type")
            raise RunError(f"{cell.path}: exhibit {name!r} is damaged ({error!r})") from error
    return CellExhibits(cell.id, cell.method, cell.seed, tuple(shown), len(found) - len(shown))


def compared(cells: Sequence[Cell]) -> list[Shown]:
    """Curves that ask to be compared, of all methods in one picture: by title, each method's first series under its
    name, and once the further ones, which are the same for all.

    Raises RunError where one is damaged. Of several seeds the first is drawn.
    """
    found: dict[str, tuple[Mapping[str, Any], dict[str, svg.Series], list[svg.Series]]] = {}
    for cell in cells:
        for exhibit in cell.exhibits():
            if exhibit.get("type") == "curve" and exhibit.get("compare") and cell.ok:
                try:
                    own, *shared = (_series(data) for data in exhibit["series"])
                    title = str(exhibit["title"])
                except (KeyError, TypeError, ValueError) as error:
                    raise RunError(f"{cell.path}: exhibit {exhibit.get('title')!r} is damaged ({error!r})") from error
                named = replace(own, name=cell.method)
                series = found.setdefault(title, (exhibit, {}, shared))[1]
                series.setdefault(cell.method, named)
    return [
        Shown(
            title,
            svg=svg.curves(
                title,
                [*series.values(), *shared],
                *(str(first.get(axis, "")) for axis in ("x_label", "y_label")),
                dotted=True,
            ),
            note=str(first.get("note", "")),
        )
        for title, (first, series, shared) in found.items()
        if len(series) > 1
    ]


def show(exhibit: Mapping[str, Any]) -> Shown:
    """One exhibit. Raises KeyError, TypeError, ValueError or IndexError where it is damaged."""
    shown = _shown(exhibit)
    return replace(shown, note=f"{shown.note} {exhibit.get('note', '')}".strip())


def _shown(exhibit: Mapping[str, Any]) -> Shown:
    kind, title = str(exhibit["type"]), str(exhibit.get("title") or exhibit["type"])
    match kind:
        case "text-pair":
            return _table(title, ("", "before", "after"), exhibit["rows"])
        case "table":
            return _table(title, tuple(map(str, exhibit["heads"])), exhibit["rows"])
        case "curve":
            series = [_series(data) for data in exhibit["series"]]
            axes = (str(exhibit.get("x_label", "")), str(exhibit.get("y_label", "")))
            return Shown(title, svg=svg.curves(title, series, *axes, dotted=bool(exhibit.get("compare"))))
        case "matrix":
            values = [[_number(v) for v in row] for row in exhibit["values"]]
            rows_and_columns = (list(map(str, exhibit["rows"])), list(map(str, exhibit["columns"])))
            return Shown(title, svg=svg.heat(title, *rows_and_columns, values))
        case "graph":
            return _graph(title, exhibit["nodes"], exhibit["edges"])
        case "image":
            png = str(exhibit["png"])
            if not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", png):
                raise ValueError("png is not base64")
            return Shown(title, png=png)
        case _:
            return Shown(title, note=f"This version shows no exhibits of type {kind!r}.")


def _table(title: str, heads: tuple[str, ...], given: Sequence[Sequence[Any]]) -> Shown:
    rows = [tuple(map(str, row)) for row in given]
    return Shown(title, heads=heads, rows=tuple(rows[:MOST_ROWS]), note=_more(rows, "rows"))


def _series(data: Mapping[str, Any]) -> svg.Series:
    x, y, low, high = ([_number(v) for v in data.get(part) or ()] for part in ("x", "y", "low", "high"))
    return svg.Series(str(data["name"]), x, y, low, high)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _graph(title: str, nodes: Sequence[Any], edges: Sequence[Any]) -> Shown:
    """Drawn where every node has a layer; else a table of its edges."""
    if not nodes and not edges:
        return Shown(title, note="The graph is empty.")
    if graph.is_layered(nodes, edges):
        drawn, note = graph.layered(title, nodes, edges)
        return Shown(title, svg=drawn, note=note)
    rows = [_edge(edge) for edge in edges]
    named = ", ".join(_node(node) for node in islice(nodes, MOST_ROWS))
    more = "" if len(nodes) <= MOST_ROWS else f" and {len(nodes) - MOST_ROWS} more"
    note = f"{len(nodes)} nodes: {named}{more}. {len(rows)} edges. {_more(rows, 'edges')}".strip()
    return Shown(title, heads=("from", "to", ""), rows=tuple(rows[:MOST_ROWS]), note=note)


def _node(node: Any) -> str:
    if not isinstance(node, Mapping):
        return str(node)
    rest = ", ".join(f"{key} {value}" for key, value in sorted(node.items()) if key not in ("id", "name"))
    name = str(node.get("id", node.get("name", "")))
    return f"{name} ({rest})" if rest else name


def _edge(edge: Any) -> tuple[str, str, str]:
    """From, to, and whatever else is said of an edge, which is a list or a mapping."""
    if isinstance(edge, Mapping):
        rest = {k: v for k, v in sorted(edge.items()) if k not in ("source", "target", "from", "to")}
        ends = (edge.get("source", edge.get("from", "")), edge.get("target", edge.get("to", "")))
        return (
            str(ends[0]),
            str(ends[1]),
            ", ".join(f"{key} {_plain(value)}" for key, value in rest.items()),
        )
    start, end, *others = edge
    return (str(start), str(end), ", ".join(map(_plain, others)))


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _more(rows: Sequence[Any], what: str) -> str:
    return f"{len(rows) - MOST_ROWS} more {what} are in the cell's folder." if len(rows) > MOST_ROWS else ""
