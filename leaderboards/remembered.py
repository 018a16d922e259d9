"""Intervals and ranks of cells that were seen before: computed once for equal records, kept as artifacts.

The resampling of a large table takes far longer than all else that shows it; the key is what it depends on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, TypeVar

from ..artifacts import ArtifactStore, artifact_root
from ..canonical import digest
from ..stats import VERSION, Estimate
from ..store import Cell
from .tables import Column

Value = TypeVar("Value")


def estimates(
    cells: Sequence[Cell], columns: Sequence[Column], compute: Callable[[], Sequence[Estimate | None]]
) -> list[Estimate | None]:
    """The estimates of one method's cells, as `compute` gives them."""
    key = {"cells": [records(c) for c in cells], "columns": [[c.metric.to_json(), c.at] for c in columns]}
    rows = _kept("estimates", key, lambda: [None if e is None else list(astuple(e)) for e in compute()])
    return [None if row is None else Estimate(*row) for row in rows]


def ranks(cells: Mapping[str, Sequence[Cell]], column: Column, compute: Callable[[], dict[str, int]]) -> dict[str, int]:
    """The ranks of methods by one column, as `compute` gives them."""
    key = {"cells": {m: [records(c) for c in own] for m, own in cells.items()}, "column": column.metric.to_json()}
    found: dict[str, int] = _kept("ranks", {**key, "at": column.at}, compute)
    return found


def _kept(kind: str, key: Mapping[str, Any], compute: Callable[[], Value]) -> Value:
    value: Value = ArtifactStore(artifact_root()).get(kind, {**key, "version": VERSION}, compute)
    return value


def records(cell: Cell) -> str:
    """Digest of what a cell recorded."""
    if cell.path is None:
        return digest([list(cell.records), list(cell.items)])
    state = hashlib.sha256()
    for name in ("records.jsonl", "items.jsonl"):
        file = cell.path / name
        state.update(file.read_bytes() if file.exists() else b"")
    return state.hexdigest()
