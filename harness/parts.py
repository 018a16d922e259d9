"""Finished parts of a cell that has not ended: `partial/<id>/<name>.json`, and `<name>.npz` for its state.

Each is written aside and renamed, so that a kill costs at most one part.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .canonical import canonical
from .errors import RunError
from .job import Part
from .store import clusters_of, read_json, write_atomically

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


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
    for name in (part.name, *part.exhibits):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a part or an exhibit; use letters, digits, `.`, `_`, `-`")
    folder.mkdir(parents=True, exist_ok=True)
    body = {name: value for name, value in vars(part).items() if name != "state"}
    if part.state is not None:
        if objects := [name for name, value in part.state.items() if np.asarray(value).dtype.hasobject]:
            raise ValueError(f"state {objects[0]!r} holds objects; only plain arrays are kept")
        aside = folder / f".{part.name}.{os.getpid()}.npz"
        with aside.open("wb") as stream:
            # A prefix, so that no name can be taken for one of numpy's own arguments.
            arrays: dict[str, Any] = {f"state.{name}": value for name, value in part.state.items()}
            np.savez(stream, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(folder / f"{part.name}.npz")
    write_atomically(
        folder / f"{part.name}.json",
        canonical({**body, "cost": {**cost, **part.cost}, "state": part.state is not None}),
    )


def finished_parts(folder: Path) -> dict[str, dict[str, np.ndarray] | None]:
    """Names of the finished parts, each with its state. Raises RunError when a state is lost or damaged."""
    return {file.stem: _state(file) for file in sorted(folder.glob("[!.]*.json"))}


def _state(part: Path) -> dict[str, np.ndarray] | None:
    if not read_json(part)["state"]:
        return None
    file = part.with_suffix(".npz")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name.removeprefix("state."): arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: the state of a part cannot be read ({error}); run with --fresh") from error


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


def check(joined: Joined, columns: Collection[str]) -> None:
    """Raises ValueError when an item or a value is recorded twice, or a value is not of a known column or item.

    So too when the clusters of some items are crossed otherwise than those of others; see `clusters_of`.
    """
    items = [row["item"] for row in joined.items]
    twice = [item for item, count in Counter(items).items() if count > 1]
    if twice:
        raise ValueError(f"item {twice[0]!r} is there twice")
    known, seen = set(items), set()
    for row in joined.records:
        key = (row["item"], row["metric"], canonical(row.get("at", {})))
        if key in seen:
            raise ValueError(f"{row['metric']} of item {row['item']!r} is recorded twice")
        if row["metric"] not in columns:
            raise ValueError(f"{row['metric']!r} is recorded, but no metric of the protocol reads it")
        if row["item"] not in known:
            raise ValueError(f"{row['metric']} is recorded for item {row['item']!r}, which is not among the items")
        seen.add(key)
    recorded = {row["item"] for row in joined.records}
    clusters_of(row for row in joined.items if row["item"] in recorded)


def discard(folder: Path) -> None:
    """Remove the parts of a cell."""
    shutil.rmtree(folder, ignore_errors=True)


def discard_all_but(folder: Path, names: Collection[str]) -> None:
    """Remove the parts that are not wanted any more: an earlier attempt cut its items otherwise."""
    for file in folder.glob("[!.]*"):
        if file.stem not in names:
            file.unlink()
