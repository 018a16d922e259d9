"""The pictures of one table: quality with intervals, quality over a condition, cost against quality."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

from ..leaderboards import Column, Row, Table
from ..leaderboards.numbers import ARROW, basis, bounds, digits, number
from ..stats import Estimate
from . import svg


def _limits(column: Column) -> tuple[float, ...]:
    return (0.0, 1.0) if column.metric.unit == "fraction" else ()


def _unit(column: Column) -> str:
    return f" ({column.metric.unit})" if column.metric.unit in ("nats", "seconds") else ""


def _heading(column: Column) -> str:
    return f"{column.title} {ARROW[column.metric.better]}{_unit(column)}".strip()


def _mark(row: Row, column: Column, estimate: Estimate, *, x: float = math.nan) -> svg.Mark:
    places = digits(column.metric, [estimate])
    value = number(estimate.value, column.metric, places)
    parts = [f"{row.method}: {value}", bounds(estimate, column.metric, places), basis(estimate)]
    failed = f"; {row.status}: {row.failed} of {row.seeds} seeds" if row.failed else ""
    note = ", ".join(part for part in parts if part) + failed
    return svg.Mark(row.method, estimate.value, estimate.low, estimate.high, note, not row.ok, x)


@dataclass(frozen=True)
class Figure:
    """A picture with its caption."""

    title: str
    svg: str
    main: bool
    """Whether it is shown at once: of one of the table's main columns, or the first curve."""


def quality(table: Table) -> list[Figure]:
    """A figure for each metric: a curve over a numeric condition, else dots with whiskers.

    Metrics and methods are in the table's order, but the first curve, which says most, is first, and a main figure.
    Columns without a value have no figure.
    """
    found: list[Figure] = []
    curve: list[Figure] = []
    pairs = list(enumerate(table.columns))
    for _, group in groupby(pairs, key=lambda pair: pair[1].metric.id):
        members = list(group)
        drawn = _over_condition(table, members) if _is_numeric(members) else ""
        if drawn:
            column = members[0][1]
            heading = _heading(Column(column.metric))
            main = any(i in table.main for i, _ in members)
            title = f"{heading} over {column.at[0][0]}"
            if curve:
                found.append(Figure(title, drawn, main))
            else:
                curve.append(Figure(title, drawn, True))
            continue
        for i, column in members:
            marks = [_mark(row, column, e) for row in table.rows if (e := row.estimates[i]) and not math.isnan(e.value)]
            if marks:
                title = f"{column.title}: value and 95 % interval by method"
                drawn = svg.dots(title, marks, limits=_limits(column))
                found.append(Figure(_heading(column), drawn, i in table.main))
    return curve + found


def _is_numeric(members: list[tuple[int, Column]]) -> bool:
    """Whether the columns differ in one numeric condition, so that a curve over it says more than dots."""
    names = {name for _, column in members for name, _ in column.at}
    values = [value for _, column in members for _, value in column.at]
    return len(members) > 1 and len(names) == 1 and all(isinstance(v, int | float) for v in values)


def _over_condition(table: Table, members: list[tuple[int, Column]]) -> str:
    column = members[0][1]
    series = []
    for row in table.rows:
        points = [(c.at[0][1], e) for i, c in members if c.at and (e := row.estimates[i]) and not math.isnan(e.value)]
        if points:
            x, estimates = zip(*points, strict=True)
            y, low, high = ([getattr(e, part) for e in estimates] for part in ("value", "low", "high"))
            series.append(svg.Series(row.method, x, y, low, high))
    if not series:
        return ""
    name = column.at[0][0] if column.at else ""
    title = f"{column.metric.title} over {name} by method, with 95 % intervals"
    return svg.curves(title, series, name, "", limits=_limits(column), width=400, height=240)


def cost_and_quality(table: Table) -> str:
    """The headline against processor time; empty without a headline, or with fewer than two points."""
    if table.headline is None:
        return ""
    column = table.columns[table.headline]
    marks = [
        _mark(row, column, e, x=row.cost.cpu_s)
        for row in table.rows
        if (e := row.estimates[table.headline]) and not math.isnan(e.value) and row.cost.cpu_s > 0
    ]
    if len(marks) < 2:
        return ""
    title = f"{column.title} against processor time by method"
    return svg.scatter(title, marks, "processor time, s (log scale)", _heading(column), limits=_limits(column))
