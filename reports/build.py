"""A run folder to its report: collects values once, then writes them as HTML and as Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import RunError
from ..leaderboards import Leaderboard, Table
from ..store import Cell, read_cells, read_run, write_atomically
from . import notes
from .exhibits import CellExhibits, Shown, compared, exhibits
from .figures import Figure, cost_and_quality, quality
from .items import ItemGrid, item_grid


@dataclass(frozen=True)
class Section:
    """All there is to say about one table."""

    table: Table
    figures: tuple[Figure, ...]
    cost: str
    """SVG; empty when there is nothing to compare."""
    failures: tuple[notes.Failure, ...]
    warnings: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str, str], ...]
    facts: tuple[tuple[str, str], ...]
    items: ItemGrid | None
    compared: tuple[Shown, ...]
    """Curves of all methods in one picture."""
    exhibits: tuple[CellExhibits, ...]


@dataclass(frozen=True)
class Report:
    """What both forms of the report show."""

    title: str
    command: str
    created: str
    verdict: str
    sound: bool
    """Whether every cell ended ok, or was skipped because its method does not apply."""
    sections: tuple[Section, ...]
    provenance: tuple[tuple[str, str], ...]


def write_report(run: Path, leaderboard: Leaderboard) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` into the run folder, each atomically. Returns their paths.

    `leaderboard` is that of the run.

    Raises RunError when the folder is not a run, is damaged, or has no finished cell.
    """
    from .html import to_html
    from .markdown import to_markdown

    report = collect(run, leaderboard)
    html, markdown = run / "report.html", run / "report.md"
    write_atomically(html, to_html(report))
    write_atomically(markdown, to_markdown(report))
    return html, markdown


def collect(run: Path, leaderboard: Leaderboard) -> Report:
    """Everything that the report of `run` says. Raises RunError as `write_report` does."""
    cells = read_cells(run)
    if not cells:
        raise RunError(f"{run}: no finished cell yet, so nothing to report")
    meta = read_run(run)
    by_id = {cell.id: cell for cell in cells}
    return Report(
        title=", ".join(map(str, meta.get("suites") or [])) or run.resolve().name,
        command=shlex.join(map(str, meta.get("command") or [])),
        created=_minute(str(meta.get("created") or "")),
        verdict=notes.verdict(cells),
        sound=all(cell.meta["status"] in ("ok", "skipped") for cell in cells),
        sections=tuple(_section(table, by_id) for table in leaderboard.tables),
        provenance=tuple(notes.provenance(cells)),
    )


def _minute(time: str) -> str:
    """`2025-01-02 03:04 UTC` from ISO 8601 with a time zone; anything else as it is."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return time
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if moment.tzinfo else time


def _section(table: Table, by_id: Mapping[str, Cell]) -> Section:
    cells: Sequence[Cell] = [by_id[cell_id] for row in table.rows for cell_id in row.cells]
    return Section(
        table=table,
        figures=tuple(quality(table)),
        cost=cost_and_quality(table),
        failures=tuple(notes.failures(cells)),
        warnings=tuple(notes.warnings(cells)),
        skipped=tuple(notes.skipped(cells)),
        facts=tuple(notes.facts(cells)),
        items=item_grid(table, by_id),
        compared=tuple(compared(cells)),
        exhibits=tuple(found for cell in cells if (found := exhibits(cell)) is not None),
    )
