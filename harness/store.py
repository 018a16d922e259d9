"""Cells on disk: the only thing that leaderboards, reports, statistics and the gate read. See docs/formats.md.

A finished cell is a folder `cells/<id>/` with `cell.json`, `records.jsonl`, `items.jsonl` and `exhibits/*.json`,
written under a temporary name, synced and renamed, so that a reader sees all of it or nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .canonical import canonical
from .errors import RunError
from .metrics import Array, Metric

FORMAT = 1
"""Version of the run folder's format; readers refuse a newer one."""

_REQUIRED = frozenset({"id", "status", "task", "method", "models", "seed", "comparable", "identity", "metrics"})

STATUSES = ("ok", "failed", "timeout", "oom", "leaked", "skipped")

At = tuple[tuple[str, Any], ...]
"""The condition of a record, `{"T": 100}` as sorted pairs; empty for most."""

Cluster = str | tuple[str, ...]
"""What an item is resampled with; where clusters are crossed a name for each factor, `("question:17", "attack:3")`."""


@dataclass(frozen=True)
class Sample:
    """What one cell says for one metric under one condition: aligned per-item columns, no missing values."""

    items: tuple[str, ...]
    clusters: tuple[Cluster, ...]
    """The resampling unit of each item (equal to the item where items are independent), or its units, if crossed."""
    columns: Mapping[str, Array]
    """Column name to values of shape (items,)."""

    def __len__(self) -> int:
        return len(self.items)

    def take(self, index: Sequence[int] | np.ndarray) -> Sample:
        """The sample restricted to, and ordered by, `index`."""
        index = np.asarray(index, dtype=int)
        return Sample(
            tuple(self.items[i] for i in index),
            tuple(self.clusters[i] for i in index),
            {name: values[index] for name, values in self.columns.items()},
        )


@dataclass
class Cell:
    """One result. `meta` is `cell.json`; `records` and `items` are rows as written."""

    meta: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]] = field(default_factory=list, repr=False)
    items: Sequence[Mapping[str, Any]] = field(default_factory=list, repr=False)
    path: Path | None = None
    """The folder, or None for a cell of a baseline file."""

    @property
    def id(self) -> str:
        return str(self.meta["id"])

    @property
    def ok(self) -> bool:
        return bool(self.meta["status"] == "ok")

    @property
    def task(self) -> str:
        return str(self.meta["task"])

    @property
    def method(self) -> str:
        return str(self.meta["method"])

    @property
    def models(self) -> Mapping[str, str]:
        """Role to model name; empty for tasks without a model."""
        return dict(self.meta["models"])

    @property
    def seed(self) -> int:
        return int(self.meta["seed"])

    @property
    def place(self) -> tuple[str, str, tuple[tuple[str, str], ...], int]:
        """Task, method, models by role, seed: what the cell is called, and the order in which cells are listed."""
        return self.task, self.method, tuple(sorted(self.models.items())), self.seed

    @property
    def comparable(self) -> str:
        """Digest of everything but method, models and seed: only cells that share it stand in one table."""
        return str(self.meta["comparable"])

    @property
    def metrics(self) -> list[Metric]:
        """Metrics in the task's order, the headline first."""
        return [Metric.from_json(m) for m in self.meta["metrics"]]

    def exhibits(self) -> Iterator[Mapping[str, Any]]:
        """The exhibits in the order of their names; nothing for a cell of a baseline file."""
        if self.path is not None:
            for file in sorted((self.path / "exhibits").glob("*.json")):
                yield json.loads(file.read_text(encoding="utf-8"))

    @cached_property
    def _columns(self) -> dict[At, dict[str, dict[str, float]]]:
        table: dict[At, dict[str, dict[str, float]]] = {}
        for row in self.records:
            at = tuple(sorted(row.get("at", {}).items()))
            table.setdefault(at, {}).setdefault(row["metric"], {})[row["item"]] = float(row["value"])
        return table

    def samples(self, metric: Metric) -> dict[At, Sample]:
        """One sample for each condition under which every column of `metric` was recorded.

        Items that lack a column (a request without portability probes, say) are left out of the sample. A metric
        with `by` gives one sample for each value of that item attribute, `{"DR_grade": 0}` added to the condition.
        """
        known = self._samples.get((metric.inputs, metric.by))
        if known is None:
            known = self._samples[metric.inputs, metric.by] = self._aligned(metric)
        return known

    @cached_property
    def _clusters(self) -> dict[str, Cluster]:
        """The cluster of each item with records. Raises RunError where `clusters_of` raises ValueError."""
        rows = {row["item"]: row for row in self.items}
        recorded = dict.fromkeys(row["item"] for row in self.records)
        try:
            return clusters_of(rows.get(item, {"item": item}) for item in recorded)
        except ValueError as error:
            raise RunError(f"{self.path or self.id}: {error}") from error

    @cached_property
    def _samples(self) -> dict[tuple[tuple[str, ...], str], dict[At, Sample]]:
        """Filled by `samples`: many metrics read the same columns."""
        return {}

    def _aligned(self, metric: Metric) -> dict[At, Sample]:
        attributes = {row["item"]: row for row in self.items}
        found: dict[At, Sample] = {}
        for at, table in self._columns.items():
            if not all(c in table for c in metric.inputs):
                continue
            first = table[metric.inputs[0]]
            items = [i for i in first if all(i in table[c] for c in metric.inputs)]
            groups: dict[At, list[str]] = {}
            for item in items:
                key = at
                if metric.by:
                    attribute = attributes.get(item, {}).get(metric.by)
                    if attribute is None:
                        continue
                    key = tuple(sorted([*at, (metric.by, attribute)]))
                groups.setdefault(key, []).append(item)
            for key, members in groups.items():
                found[key] = Sample(
                    tuple(members),
                    tuple(self._clusters[i] for i in members),
                    {c: np.array([table[c][i] for i in members], dtype=float) for c in metric.inputs},
                )
        return found


def clusters_of(items: Iterable[Mapping[str, Any]]) -> dict[str, Cluster]:
    """The cluster of each item (rows of `items.jsonl`): itself where its row names none.

    Raises ValueError when a list holds anything but names, or when some items have more clusters than others.
    """
    found: dict[str, Cluster] = {}
    counts: dict[int, str] = {}
    for row in items:
        item, cluster = row["item"], row.get("cluster", row["item"])
        names = cluster if isinstance(cluster, list) else [str(cluster)]
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError(f"item {item!r}: cluster: expected a text, or a list of texts, got {cluster!r}")
        found[item] = tuple(names) if len(names) > 1 else names[0]
        counts.setdefault(len(names), item)
    if len(counts) > 1:
        listed = ", ".join(f"{item!r} {count}" for count, item in sorted(counts.items()))
        raise ValueError(f"all items of a cell have equally many clusters, one for each factor; these have: {listed}")
    return found


def read_json(file: Path) -> Any:
    """A JSON file of the run folder. Raises RunError naming the file when it is damaged."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}); delete it and run again") from error


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file. Raises RunError naming the line that is damaged."""
    rows = []
    try:
        with file.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    rows.append(json.loads(line))
                except ValueError as error:
                    raise RunError(f"{file}:{number}: not JSON ({error}); delete the cell and run again") from error
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({error})") from error
    return rows


def check_format(meta: Mapping[str, Any], where: Path) -> None:
    """Raises RunError when `where` was written by a newer version than this one."""
    found = meta.get("format") if isinstance(meta, Mapping) else None
    if found != FORMAT:
        raise RunError(f"{where}: format {found!r}; this version reads format {FORMAT}")


def read_cell(folder: Path, with_records: bool = True) -> Cell:
    """The cell in `folder`. Raises RunError when it is damaged or of another format."""
    meta = read_json(folder / "cell.json")
    check_format(meta, folder / "cell.json")
    if missing := sorted(_REQUIRED - meta.keys()):
        raise RunError(f"{folder / 'cell.json'}: has no {missing[0]!r}; delete the folder and run again")
    if meta["status"] != "ok" or not with_records:
        return Cell(meta, path=folder)
    return Cell(meta, read_jsonl(folder / "records.jsonl"), read_jsonl(folder / "items.jsonl"), folder)


def read_cells(*runs: Path, with_records: bool = True) -> list[Cell]:
    """All cells of the run folders, ok or not, in a stable order; of equal ids the first `ok` one is kept.

    Without records (and items), for those who only want to know what is there.
    """
    found: dict[str, Cell] = {}
    for run in runs:
        if not (run / "cells").is_dir():
            raise RunError(f"{run}: not a run folder (no cells/); expected the --out folder of `benchwright run`")
        for folder in sorted((run / "cells").glob("[!.]*")):
            if not (folder / "cell.json").is_file():
                continue
            cell = read_cell(folder, with_records)
            if cell.id not in found or (cell.ok and not found[cell.id].ok):
                found[cell.id] = cell
    return in_order(found.values())


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """Cells by what they are called, then by id."""
    return sorted(cells, key=lambda c: (c.place, c.id))


def read_run(run: Path) -> Mapping[str, Any]:
    """`run.json`, or an empty mapping where there is none (cells that were copied together by hand).

    Raises RunError when it is damaged or of another format.
    """
    file = run / "run.json"
    if not file.exists():
        return {}
    meta: Mapping[str, Any] = read_json(file)
    check_format(meta, file)
    return meta


def asked_cells(run: Path) -> list[str]:
    """Ids of the cells that the last command in a run folder asked for; none where nothing says so."""
    return [str(i) for i in read_run(run).get("cells") or []]


def current(cells: Iterable[Cell], asked: Collection[str] = ()) -> list[Cell]:
    """Without the cells that another one replaces: the same method at the same place of a table, with other settings.

    Of those the one among `asked` (the ids of the last command) stays, else the one that was finished last.
    """
    places: dict[tuple[object, ...], Cell] = {}
    for cell in sorted(cells, key=lambda c: (c.id in asked, str(c.meta.get("provenance", {}).get("finished")), c.id)):
        places[cell.place, canonical(cell.meta["identity"].get("models", {})), cell.comparable] = cell
    return in_order(places.values())


def write_atomically(file: Path, content: str | bytes) -> None:
    """Write beside `file`, sync, rename: a reader sees the old content or the new, never a part."""
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        write_synced(aside, content)
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)


def write_synced(file: Path, content: str | bytes) -> None:
    """Write a text (as UTF-8) or bytes, and wait until the disk has them."""
    with file.open("wb") as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())


def jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as canonical JSON Lines."""
    return "".join(canonical(row) + "\n" for row in rows)


def commit_cell(
    cells: Path,
    meta: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]] = (),
    items: Iterable[Mapping[str, Any]] = (),
    exhibits: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write a finished cell under a temporary name and rename it into place; replaces an earlier attempt.

    Only the parent process of a run calls this. Returns the folder.
    """
    folder = cells / str(meta["id"])
    aside, replaced = cells / f".{meta['id']}.tmp", cells / f".{meta['id']}.old"
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "exhibits").mkdir(parents=True)
    write_synced(aside / "records.jsonl", jsonl(records))
    write_synced(aside / "items.jsonl", jsonl(items))
    for name, exhibit in (exhibits or {}).items():
        write_synced(aside / "exhibits" / f"{name}.json", canonical(exhibit) + "\n")
    write_synced(aside / "cell.json", json.dumps(meta, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    if folder.exists():
        # Aside first: at no moment does the folder hold a part of a cell.
        shutil.rmtree(replaced, ignore_errors=True)
        folder.replace(replaced)
    aside.replace(folder)
    _sync_folder(cells)
    shutil.rmtree(replaced, ignore_errors=True)
    return folder


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
