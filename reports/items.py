"""From a number down to the items behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from ..leaderboards import Table
from ..leaderboards.numbers import MISSING, significant
from ..store import Cell

MOST = 200
"""Items shown; a report stays small enough to open."""

_OWN = ("item", "cluster", "skipped")


@dataclass(frozen=True)
class ItemGrid:
    """Items by methods, those first on which the methods differ most (by their standard deviation)."""

    heads: tuple[tuple[str, str], ...]
    """Method and, where the metric reduces several columns, the column."""
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]
    """Item, its attributes, one value for each head."""
    total: int
    differing: int
    """Items with different values between methods."""

    @property
    def hidden(self) -> int:
        """Items that are not shown."""
        return self.total - len(self.rows)


def item_grid(table: Table, cells: Mapping[str, Cell], most: int = MOST) -> ItemGrid | None:
    """The recorded columns of the headline metric for each item and method.

    Values of several seeds are averaged where the metric is a mean, otherwise written side by side. None
    without a headline or without records.
    """
    if table.headline is None:
        return None
    column = table.columns[table.headline]
    names = column.metric.inputs
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    attributes: dict[str, str] = {}
    for row in table.rows:
        for cell in (cells[cell_id] for cell_id in row.cells):
            sample = cell.samples(column.metric).get(column.at) if cell.ok else None
            if sample is None:
                continue
            attributes |= {str(item["item"]): _attributes(item) for item in cell.items}
            for name in names:
                by_item = found.setdefault((row.method, name), {})
                for item, value in zip(sample.items, sample.columns[name].tolist(), strict=True):
                    by_item.setdefault(item, []).append(value)
    items = list(dict.fromkeys(item for by_item in found.values() for item in by_item))
    if not items:
        return None
    spread = {item: max(_spread(found, name, item) for name in names) for item in items}
    ordered = sorted(items, key=lambda item: -spread[item])  # stable: equal items stay in their order
    mean = column.metric.reduce == "mean"
    return ItemGrid(
        heads=tuple((method, name if len(names) > 1 else "") for method, name in found),
        rows=tuple(
            (
                item,
                attributes.get(item, ""),
                tuple(_text(by_item.get(item, ()), mean) for by_item in found.values()),
            )
            for item in ordered[:most]
        ),
        total=len(items),
        differing=sum(value > 0 for value in spread.values()),
    )


def _spread(found: Mapping[tuple[str, str], Mapping[str, Sequence[float]]], name: str, item: str) -> float:
    means = [fmean(by[item]) for (_, column), by in found.items() if column == name and item in by]
    finite = [value for value in means if math.isfinite(value)]
    return pstdev(finite) if finite else 0.0


def _attributes(item: Mapping[str, Any]) -> str:
    parts = []
    for name, value in item.items():
        if name not in _OWN and value not in (None, "", []):
            parts.append(f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return " · ".join(parts)


def _text(values: Sequence[float], mean: bool) -> str:
    if not values:
        return MISSING
    shown = [fmean(values)] if mean else values
    return " / ".join(dict.fromkeys(_number(value) for value in shown))


def _number(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) and value == int(value) else significant(value)
