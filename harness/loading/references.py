"""What can be checked of published numbers: that their metrics exist, that means follow from their parts, that none of
them was taken back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from ..errors import Problem, closest
from ..kinds import Aggregate, Disagreement, ReferenceRow, TaskSpec
from .library import Library
from .tree import Path_

if TYPE_CHECKING:
    from .resolve import Resolved


def adds_up(printed: float, parts: Sequence[float], digits: int) -> bool:
    """Whether a printed number is the mean of printed ones: each is rounded, so one unit of the last digit is allowed.

    >>> adds_up(0.4351, [0.8430, 0.2200, 0.4659, 0.2115], 4), adds_up(0.7404, [0.8967, 0.4748, 0.9653, 0.3881], 4)
    (True, False)
    """
    return abs(fmean(parts) - printed) <= 10.0**-digits * (1 + 1e-9)


def metrics(resolved: Resolved, task: TaskSpec) -> Iterator[Problem]:
    """Values under metrics that the task does not have."""
    known = [m.id for m in task.protocol.metrics()]
    for i, row in enumerate(resolved.spec.rows):
        for column in row.values:
            metric = column.partition("[")[0]
            if metric not in known:
                near = closest(metric, known)
                path = ("rows", i, "values", column)
                yield resolved.problem(path, f"unknown metric {metric!r}", "expected one of the task's", near)


def withdrawn(resolved: Resolved, library: Library) -> Iterator[Problem]:
    """Numbers that this reference repeats though a reference of the same task says that they were taken back."""
    trees = [library.resolved_tree(e).data for e in library.entries.values() if e.kind == "reference"]
    # Other references are read as they are written: what is wrong with them is not this one's problem.
    notes = {
        (gone.get("metric"), gone.get("value")): f"{gone.get('method')}: {gone.get('note')}"
        for data in (*trees, resolved.tree.data)
        if data.get("task") == resolved.spec.task and isinstance(data.get("withdrawn"), list)
        for gone in data["withdrawn"]
        if isinstance(gone, dict)
    }
    for i, row in enumerate(resolved.spec.rows):
        for column, value in row.values.items():
            if note := notes.get((column, value)):
                yield resolved.problem(("rows", i, "values", column), f"{value} was withdrawn ({note})", "leave it out")


def arithmetic(resolved: Resolved) -> Iterator[Problem]:
    """Means that do not follow from their parts and are not listed as misprints, and lists that say what is not so."""
    for i, row in enumerate(resolved.spec.rows):
        for path, wrong, expected in (*_aggregates(row), *_misprints(row), *_disagreements(row)):
            yield resolved.problem(("rows", i, *path), wrong, expected)


_Found = Iterator[tuple[Path_, str, str]]
"""Place in the row, what is wrong, what is expected."""


def _aggregates(row: ReferenceRow) -> _Found:
    for name, aggregate in row.aggregates.items():
        if missing := [m for m in (name, *aggregate.of) if m not in row.values]:
            yield ("aggregates", name), f"aggregate {name!r} needs the values {', '.join(missing)}", ""
        elif not adds_up(row.values[name], parts := _parts(row, aggregate), aggregate.digits):
            wrong = f"{name} is printed as {row.values[name]} but its parts have the mean {fmean(parts):.6g}"
            fix = "if it is printed so, write what the parts give here, and the printed number under `misprints`"
            yield ("values", name), wrong, fix


def _misprints(row: ReferenceRow) -> _Found:
    for name, misprint in row.misprints.items():
        here, aggregate = ("misprints", name), row.aggregates.get(name)
        if aggregate is None or any(m not in row.values for m in (name, *aggregate.of)):
            yield here, f"{name!r} is no aggregate of this row", "say in `aggregates` what it is a mean of"
            continue
        parts = _parts(row, aggregate)
        if adds_up(misprint.printed, parts, aggregate.digits):
            wrong = f"{name} printed as {misprint.printed} is no misprint: its parts have the mean {fmean(parts):.6g}"
            yield (*here, "printed"), wrong, "leave it out"
        if missing := [m for m in misprint.mean_of if m not in row.values]:
            yield (*here, "mean_of"), f"the row has no value {', '.join(missing)}", ""
        elif misprint.mean_of:
            others = [row.values[m] for m in misprint.mean_of]
            if not adds_up(misprint.printed, others, aggregate.digits):
                wrong = f"{misprint.printed} is not the mean of these, which is {fmean(others):.6g}"
                yield (*here, "mean_of"), wrong, ""


def _disagreements(row: ReferenceRow) -> _Found:
    for name, other in row.disagreements.items():
        here = ("disagreements", name)
        if name not in row.values:
            yield here, f"the row has no value {name!r}", ""
        elif adds_up(other.printed, [row.values[name]], other.digits):
            wrong = f"{name}: {other.printed} and {row.values[name]} are the same within rounding"
            yield (*here, "printed"), wrong, "leave it out"
        if other.mean_of and not adds_up(other.printed, other.mean_of, other.digits):
            wrong = f"{other.printed} is not the mean of these, which is {fmean(other.mean_of):.6g}"
            yield (*here, "mean_of"), wrong, ""
        yield from _elsewhere(row, name, other)


def _elsewhere(row: ReferenceRow, name: str, other: Disagreement) -> _Found:
    """A mean of the other place, where that place prints all its parts too."""
    aggregate = row.aggregates.get(name)
    there = [row.disagreements.get(m) for m in aggregate.of] if aggregate else []
    parts = [part.printed for part in there if part is not None and part.where == other.where]
    if aggregate and len(parts) == len(aggregate.of) and not adds_up(other.printed, parts, other.digits):
        wrong = f"{name} is {other.printed} in {other.where}, but its parts there have the mean {fmean(parts):.6g}"
        yield ("disagreements", name, "printed"), wrong, ""


def _parts(row: ReferenceRow, aggregate: Aggregate) -> list[float]:
    return [row.values[m] for m in aggregate.of]
