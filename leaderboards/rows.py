"""One method's cells to one row, and published numbers to rows of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from ..stats import Estimate
from ..store import Cell
from .tables import Column, Cost, Published, Row


def row(method: str, cells: Sequence[Cell], estimates: tuple[Estimate | None, ...], headline: int | None) -> Row:
    """The row of one method; not yet ranked."""
    failed = [cell for cell in cells if not cell.ok]
    spec: Mapping[str, Any] = cells[0].meta.get("specs", {}).get("method", {})
    main = estimates[headline] if headline is not None else None
    error = (failed[0].meta.get("error") or {}) if failed else {}
    costs = _costs([cell for cell in cells if cell.ok] or cells)
    return Row(
        method=method,
        title=str(spec.get("title") or ""),
        fidelity=str(spec.get("fidelity") or "faithful"),
        status=str(failed[0].meta["status"]) if failed else "ok",
        cause=str(error.get("cause") or ""),
        seeds=len(cells),
        failed=len(failed),
        items=main.items if main else max((e.items for e in estimates if e), default=0),
        estimates=estimates,
        cost=Cost(*(costs.get(name, math.nan) for name in COSTS)),
        cells=tuple(cell.id for cell in cells),
        further={name: value for name, value in costs.items() if name not in COSTS},
    )


COSTS = ("wall_s", "cpu_s", "peak_rss_mb")
"""Costs that every cell has, in the order of the fields of `Cost`."""


def _costs(cells: Sequence[Cell]) -> dict[str, float]:
    """Mean of each cost over the cells that have it."""
    costs = [{n: v for n, v in (cell.meta.get("cost") or {}).items() if v is not None} for cell in cells]
    names = dict.fromkeys(name for cost in costs for name in cost)
    return {name: fmean(cost[name] for cost in costs if name in cost) for name in names}


def published_rows(references: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> tuple[Published, ...]:
    """Rows of reference specs; `values` are keyed by metric id or by `Column.key`.

    They are as they were printed, misprints aside, whose note says what was.
    """
    return tuple(
        Published(
            method=str(entry["method"]),
            values=tuple(_printed(entry["values"].get(column.key)) for column in columns),
            reference=str(reference["name"]),
            note="; ".join(_notes(entry)),
            source_title=str((entry.get("source") or {}).get("title") or ""),
            source_url=str((entry.get("source") or {}).get("url") or ""),
        )
        for reference in references
        for entry in reference["rows"]
    )


def _notes(entry: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know of a row: its note, its misprints, and what is printed otherwise elsewhere."""
    if entry.get("note"):
        yield str(entry["note"])
    for name, misprint in (entry.get("misprints") or {}).items():
        parts = f"its parts give {entry['values'][name]}"
        yield f"{name} is printed as {misprint['printed']}, {parts}: {misprint['note']}"
    others = entry.get("disagreements") or {}
    for where in dict.fromkeys(other["where"] for other in others.values()):
        numbers = [f"{name} {other['printed']}" for name, other in others.items() if other["where"] == where]
        yield f"{where} prints {', '.join(numbers)}"


def _printed(value: Any) -> float | None:
    return None if value is None else float(value)
