"""What a table has beside its main columns, turned on its side: one line for each column, methods across."""

from __future__ import annotations

from dataclasses import dataclass

from .numbers import ARROW, MISSING, counted, digits, meaning, significant
from .tables import Column, Slice, Table
from .view import Entry, entry, lines


@dataclass(frozen=True)
class Grid:
    """Lines of numbers, one for each method."""

    title: str
    corner: str
    """What the lines are."""
    methods: tuple[str, ...]
    lines: tuple[tuple[str, str, tuple[Entry, ...]], ...]
    """Label, its meaning, and one entry for each method."""


def grids(table: Table) -> list[Grid]:
    """The columns that are not among the main ones, then the slices, then the costs that the family counts."""
    return _rest(table) + [_slice(part) for part in table.slices] + _costs(table)


def _costs(table: Table) -> list[Grid]:
    names = list(dict.fromkeys(name for row in table.rows for name in row.further))
    if not names:
        return []
    found = tuple(
        (name.replace("_", " "), "mean over the seeds", tuple(_cost(row.further.get(name)) for row in table.rows))
        for name in names
    )
    return [Grid(counted(len(names), "further cost"), "cost", tuple(row.method for row in table.rows), found)]


def _cost(value: float | None) -> Entry:
    return Entry(MISSING) if value is None else Entry(significant(value), value=value)


def _rest(table: Table) -> list[Grid]:
    rest = [i for i in range(len(table.columns)) if i not in table.main]
    if not rest:
        return []
    shown = [line for line in lines(table) if not line.published or any(line.entries[i].text for i in rest)]
    found = tuple(
        (
            f"{table.columns[i].title} {ARROW[table.columns[i].metric.better]}".strip(),
            meaning(table.columns[i]),
            tuple(line.entries[i] for line in shown),
        )
        for i in rest
    )
    names = tuple(f"{line.method} (published)" if line.published else line.method for line in shown)
    return [Grid(counted(len(rest), "more column"), "metric", names, found)]


def _slice(part: Slice) -> Grid:
    places = digits(part.metric, [e for estimates in part.estimates.values() for e in estimates])
    found = tuple(
        (
            _label(part, column),
            meaning(column),
            tuple(entry(column, own[i], places) for own in part.estimates.values()),
        )
        for i, column in enumerate(part.columns)
    )
    return Grid(f"{part.metric.title}, by {part.metric.by}", part.metric.by, tuple(part.estimates), found)


def _label(part: Slice, column: Column) -> str:
    """The attribute's value; after it the condition of the records, where there is one."""
    value = str(dict(column.at).get(part.metric.by, ""))
    rest = Column(column.metric, tuple(pair for pair in column.at if pair[0] != part.metric.by)).condition
    return f"{value} ({rest})" if rest else value
