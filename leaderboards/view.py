"""A table as text: what Markdown, HTML and the terminal show alike, before they escape or style it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..stats import Estimate
from .numbers import (
    ARROW,
    basis,
    bounds,
    digits,
    meaning,
    number,
    significant,
)
from .tables import Column, Row, Table

COSTS = (
    ("CPU s", "processor time in seconds, mean over the seeds"),
    ("Wall s", "elapsed time in seconds, mean over the seeds"),
    ("Peak MB", "peak resident memory in megabytes, mean over the seeds"),
)
"""Header and meaning of the cost columns, in the order of `Line.costs`."""


@dataclass(frozen=True)
class Header:
    """The head of a metric column."""

    title: str
    arrow: str
    condition: str
    meaning: str
    main: bool
    """Whether this column ranks."""


@dataclass(frozen=True)
class Entry:
    """One number as shown."""

    text: str
    bounds: str = ""
    basis: str = ""
    best: bool = False
    value: float | None = None
    """The exact value, for sorting."""


@dataclass(frozen=True)
class Line:
    """One row as shown; `published` rows have no rank, items or costs."""

    method: str
    title: str
    entries: tuple[Entry, ...]
    rank: str = ""
    badge: str = ""
    """`failed`, `failed 1 of 3 seeds`, `published`; empty for a row that ended ok."""
    bad: bool = False
    """Whether something went wrong; not so for a method that was skipped because it does not apply."""
    cause: str = ""
    items: str = ""
    seeds: str = ""
    costs: tuple[Entry, ...] = ()
    published: bool = False
    note: str = ""
    source_title: str = ""
    source_url: str = ""


def headers(table: Table) -> list[Header]:
    """The heads of all metric columns."""
    return [
        Header(c.metric.title, ARROW[c.metric.better], c.condition, meaning(c), i == table.headline)
        for i, c in enumerate(table.columns)
    ]


def lines(table: Table) -> list[Line]:
    """Measured rows, then published ones."""
    places = [digits(c.metric, (row.estimates[i] for row in table.rows)) for i, c in enumerate(table.columns)]
    return [_measured(table, row, places) for row in table.rows] + [
        Line(
            method=row.method,
            title=row.note,
            entries=tuple(Entry("" if v is None else f"{v:.10g}", value=v) for v in row.values),
            badge="published",
            published=True,
            note=row.note,
            source_title=row.source_title or row.source_url or row.reference,
            source_url=row.source_url,
        )
        for row in table.published
    ]


def _measured(table: Table, row: Row, places: Sequence[int]) -> Line:
    return Line(
        method=row.method,
        title=row.title,
        entries=tuple(
            entry(c, row.estimates[i], places[i], best=table.is_best(row, i)) for i, c in enumerate(table.columns)
        ),
        rank="" if row.rank is None else f"{row.rank}=" if table.shares_rank(row) else f"{row.rank}",
        badge=badge(row),
        bad=row.status not in ("ok", "skipped"),
        cause=row.cause,
        items=str(row.items) if row.items else "",
        seeds=_seeds(row),
        costs=tuple(
            Entry(significant(value), value=value) for value in (row.cost.cpu_s, row.cost.wall_s, row.cost.peak_rss_mb)
        ),
    )


def entry(column: Column, estimate: Estimate | None, decimals: int, *, best: bool = False) -> Entry:
    """A measured number with its interval and what it rests on."""
    if estimate is None:
        return Entry(number(None, column.metric, decimals))
    return Entry(
        number(estimate.value, column.metric, decimals),
        bounds(estimate, column.metric, decimals),
        basis(estimate),
        best,
        estimate.value,
    )


def badge(row: Row) -> str:
    """How a row that did not end ok is marked, and a method that is not what was published."""
    if row.ok:
        return "" if row.fidelity == "faithful" else row.fidelity
    return row.status if row.failed == row.seeds else f"{row.status} {row.failed} of {row.seeds} seeds"


def _seeds(row: Row) -> str:
    if row.seeds == 1 or row.failed == row.seeds:
        return ""
    done = row.seeds - row.failed
    return f"{done} of {row.seeds} seeds" if row.failed else f"{row.seeds} seeds"


def ranking(table: Table) -> str:
    """One sentence on how the rows were ranked."""
    if table.headline is None:
        return "No metric has a direction; rows are in the order of their names."
    column = table.columns[table.headline]
    return (
        f"Ranked by {column.title}. Rows share a rank (=) where a paired test at 5 %, corrected for all "
        "pairs, cannot separate them. In brackets: 95 % intervals."
    )
