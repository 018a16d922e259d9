"""Cells to tables. Groups what may be compared, estimates every number, ranks; shows nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..canonical import digest
from ..errors import RunError
from ..metrics import Metric
from ..stats import Estimate, intervals
from ..store import At, Cell, Sample, asked_cells, current, read_cells, read_run
from . import remembered
from .differences import differences
from .rank import best_values, has_value, headline, order, ranks
from .rows import published_rows, row
from .tables import Column, Leaderboard, Row, Slice, Table

Recorded = Mapping[tuple[str, str], Mapping[At, Sequence[Sample]]]
"""What one method recorded: metric (id and `by`) and condition to one sample for each seed."""

FEW = 6
"""Columns that a table can have before some are shown apart."""


def build(runs: Sequence[Path], only: Collection[str] | None = None) -> Leaderboard:
    """The leaderboard of all cells of `runs` (or of those with the ids `only`), and the published numbers beside them.

    Raises RunError when a folder is not a run, is damaged, or when there is no cell at all.
    """
    cells = current(read_cells(*runs), [i for run in runs for i in asked_cells(run)])
    cells = [c for c in cells if only is None or c.id in only]
    if not cells:
        raise RunError(f"{', '.join(map(str, runs)) or 'no run folder'}: no finished cell yet, so nothing to show")
    references: list[Mapping[str, Any]] = []
    tasks: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        meta = read_run(run)
        references += [r for r in meta.get("references") or [] if r not in references]
        tasks |= meta.get("tasks") or {}
    return tabulate([_as_asked(cell, tasks.get(cell.task, {})) for cell in cells], references)


def _as_asked(cell: Cell, task: Mapping[str, Any]) -> Cell:
    """The cell under its task's present title and order of metrics, which are no part of its identity."""
    known = {m["id"]: m for m in cell.meta["metrics"]}
    first = [i for i in task.get("metrics", []) if i in known]
    metrics = [known[i] for i in [*first, *(i for i in known if i not in first)]]
    specs = cell.meta.get("specs", {})
    shown = {**specs, "task": {**specs.get("task", {}), **task}}
    return dataclasses.replace(cell, meta={**cell.meta, "metrics": metrics, "specs": shown})


def tabulate(cells: Sequence[Cell], references: Sequence[Mapping[str, Any]] = ()) -> Leaderboard:
    """One table for each task, models and `comparable` among `cells`."""
    groups: dict[tuple[str, At], dict[str, list[Cell]]] = {}
    for cell in cells:
        same = groups.setdefault((cell.task, tuple(sorted(cell.models.items()))), {})
        same.setdefault(cell.comparable, []).append(cell)
    tables = []
    for (task, _), same in sorted(groups.items()):
        own = [reference for reference in references if reference["task"] == task]
        differs = differences(same)
        tables += [_table(same[key], differs[key], own) for key in sorted(same, key=lambda k: (*differs[k].items(), k))]
    return Leaderboard(tuple(tables))


def _table(cells: Sequence[Cell], differs: Mapping[str, str], references: Sequence[Mapping[str, Any]]) -> Table:
    methods = _methods(cells)
    metrics = list({(m.id, m.by): m for cell in cells for m in cell.metrics}.values())
    recorded = {name: _recorded(metrics, group) for name, group in methods.items()}
    columns = [column for metric in metrics if not metric.by for column in _columns(metric, recorded)]
    sliced = [m for m in metrics if m.by and any(of_method[m.id, m.by] for of_method in recorded.values())]
    slices = [(metric, _columns(metric, recorded)) for metric in sliced]
    every = [*columns, *(column for _, own in slices for column in own)]
    found = {
        name: remembered.estimates([c for c in own if c.ok], every, partial(_estimates, every, recorded[name]))
        for name, own in methods.items()
    }
    estimates = {name: tuple(found[name][: len(columns)]) for name in methods}
    main = headline(columns, [e for name, e in estimates.items() if all(c.ok for c in methods[name])])
    rows = [row(name, group, estimates[name], main) for name, group in methods.items()]
    if main is not None:
        rows = _ranked(rows, methods, recorded, columns[main], main)
    spec = cells[0].meta.get("specs", {}).get("task", {})
    return Table(
        task=cells[0].task,
        title=str(spec.get("title") or cells[0].task),
        description=str(spec.get("description") or ""),
        models=cells[0].models,
        comparable=cells[0].comparable,
        differs=differs,
        columns=tuple(columns),
        main=_main(columns, main, spec.get("metrics") or ()),
        rows=order(rows, columns, main),
        headline=main,
        best=best_values(columns, rows),
        published=published_rows(references, columns),
        slices=tuple(_slice(metric, own, every, found) for metric, own in slices),
    )


def _main(columns: Sequence[Column], headline: int | None, asked: Sequence[str]) -> tuple[int, ...]:
    """All columns where they are few; else those of the metrics that the task asks for, or the first ones."""
    if len(columns) <= FEW:
        return tuple(range(len(columns)))
    chosen = [i for i, column in enumerate(columns) if column.metric.id in asked] or list(range(FEW))
    return tuple(sorted({*chosen, *([] if headline is None else [headline])}))


def _methods(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Cells that are seeds of one method, by label. Two settings under one name are two methods."""
    groups: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        settings = digest({key: value for key, value in cell.meta["identity"].items() if key != "seed"})
        groups.setdefault(cell.method, {}).setdefault(settings, []).append(cell)
    return {
        name if len(variants) == 1 else f"{name} #{settings[:6]}": variants[settings]
        for name, variants in sorted(groups.items())
        for settings in sorted(variants)
    }


def _recorded(metrics: Sequence[Metric], cells: Sequence[Cell]) -> Recorded:
    found: dict[tuple[str, str], dict[At, list[Sample]]] = {}
    for metric in metrics:
        of_metric = found.setdefault((metric.id, metric.by), {})
        for cell in cells:
            for at, sample in cell.samples(metric).items() if cell.ok else ():
                of_metric.setdefault(at, []).append(sample)
    return found


def _columns(metric: Metric, recorded: Mapping[str, Recorded]) -> list[Column]:
    """A column for each condition that any method recorded; one without values when none did."""
    conditions = {at for of_method in recorded.values() for at in of_method[metric.id, metric.by]}
    return [Column(metric, at) for at in sorted(conditions, key=_in_order)] or [Column(metric)]


def _in_order(at: At) -> list[tuple[str, bool, float, str]]:
    """Numbers by size, before words."""
    numeric = [isinstance(value, int | float) for _, value in at]
    return [
        (name, not number, float(value) if number else 0.0, str(value))
        for (name, value), number in zip(at, numeric, strict=True)
    ]


def _estimates(columns: Sequence[Column], recorded: Recorded) -> list[Estimate | None]:
    """One for each column, all at once since columns over the same items share their resamples."""
    samples = [recorded[c.metric.id, c.metric.by].get(c.at) for c in columns]
    known = [(c.metric, own) for c, own in zip(columns, samples, strict=True) if own]
    found = iter(intervals(known))
    return [next(found) if own else None for own in samples]


def _slice(
    metric: Metric, own: Sequence[Column], every: Sequence[Column], found: Mapping[str, Sequence[Estimate | None]]
) -> Slice:
    place = {id(column): i for i, column in enumerate(every)}
    return Slice(
        metric, tuple(own), {name: tuple(row[place[id(column)]] for column in own) for name, row in found.items()}
    )


def _ranked(
    rows: Sequence[Row],
    methods: Mapping[str, Sequence[Cell]],
    recorded: Mapping[str, Recorded],
    column: Column,
    index: int,
) -> list[Row]:
    """The rows with ranks: only those that ended ok and have a value."""
    samples = {
        r.method: recorded[r.method][column.metric.id, column.metric.by][column.at]
        for r in rows
        if r.ok and has_value(r.estimates[index])
    }
    found = remembered.ranks({m: methods[m] for m in samples}, column, partial(ranks, column.metric, samples))
    return [dataclasses.replace(r, rank=found.get(r.method)) for r in rows]
