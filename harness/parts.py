"""Finished parts of a cell that has not ended: `partial/<id>/<name>.json`, and `<name>.npz` for its state.

Each is written aside and renamed, so that a kill costs at most one part.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .canonical import canonical
from .job import Part
from .store import read_json, write_atomically


@dataclass
class Joined:
    """All parts of a cell, joined in the order of their names."""

    records: list[dict[str, Any]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    exhibits: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)


def write_part(folder: Path, part: Part, cost: dict[str, float]) -> None:
    """Commit one part. Raises ValueError when a value is not finite, OSError when the disk refuses."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {name: value for name, value in vars(part).items() if name != "state"}
    if part.state is not None:
        aside = folder / f".{part.name}.npz"
        with aside.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **part.state)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(folder / f"{part.name}.npz")
    write_atomically(folder / f"{part.name}.json", canonical({**body, "cost": cost}))


def finished_parts(folder: Path) -> dict[str, dict[str, np.ndarray] | None]:
    """Names of the finished parts, each with its state."""
    found: dict[str, dict[str, np.ndarray] | None] = {}
    for file in sorted(folder.glob("[!.]*.json")):
        state = file.with_suffix(".npz")
        if state.exists():
            with np.load(state, allow_pickle=False) as arrays:
                found[file.stem] = {name: arrays[name] for name in arrays.files}
        else:
            found[file.stem] = None
    return found


def join(folder: Path) -> Joined:
    """Join the parts. Seconds add up, peaks take the largest."""
    joined = Joined()
    for file in sorted(folder.glob("[!.]*.json")):
        part = read_json(file)
        joined.records += part["records"]
        joined.items += part["items"]
        joined.exhibits |= part["exhibits"]
        joined.skipped.update(part["skipped"])
        joined.facts |= part["facts"]
        joined.warnings += [w for w in part["warnings"] if w not in joined.warnings]
        for name, value in part["cost"].items():
            known = joined.cost.get(name, 0.0)
            joined.cost[name] = max(known, value) if name.startswith("peak") else known + value
    joined.skipped.update(row["skipped"] for row in joined.items if "skipped" in row)
    return joined


def discard(folder: Path) -> None:
    """Remove the parts of a cell."""
    shutil.rmtree(folder, ignore_errors=True)
