"""`run` and `plan`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as o

if TYPE_CHECKING:
    from ..leaderboards.tables import Leaderboard


def run_command(
    targets: o.Targets,
    model: o.Model = None,
    data: o.DataPath = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    seeds: o.Seeds = None,
    limit: o.Limit = None,
    out: o.Out = None,
    specs: o.Specs = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again what is there already.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run cells again that failed.")] = False,
    part: Annotated[str | None, typer.Option("--shard", help="i/n: only this share of the cells.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run only the cell of this id.")] = None,
    executor: Annotated[str, typer.Option("--executor", help="local or inline.")] = "local",
    timeout: Annotated[float | None, typer.Option("--timeout", min=0.001, help="Seconds that a cell may take.")] = None,
) -> None:
    """Run suites, tasks and methods; cells that are there already are not run again."""
    from ..api import run

    display = _Display()
    boards: list[Leaderboard] = []
    with display:
        result = run(
            *targets,
            model=model,
            data=data,
            device=device,
            dtype=dtype,
            seeds=o.parse_seeds(seeds),
            limit=limit,
            out=out,
            specs=specs or (),
            fresh=fresh,
            retry_failed=retry_failed,
            part=part,
            executor=executor,
            only=only or (),
            timeout_s=timeout,
            on_plan=display.on_plan,
            on_event=display.on_event,
            on_board=boards.append,
        )
    from .results import print_tables

    if not display.planned:
        typer.echo("nothing to do: this share has no cells")
        return
    for board in boards:
        print_tables(board)
    bad = [c for c in result.cells() if c.id in display.planned and not c.ok]
    for cell in bad:
        name = " · ".join([cell.task, cell.method, *cell.models.values(), f"seed {cell.seed}"])
        typer.echo(f"{cell.meta['status']}: {name}: {cell.meta['error']['cause']}", err=True)
    typer.echo(f"leaderboard  {result.folder / 'leaderboard.html'}")
    typer.echo(f"report       {result.folder / 'report.html'}")
    if bad:
        raise typer.Exit(1 if any(c.meta["status"] != "skipped" for c in bad) else 0)


def plan_command(
    targets: o.Targets,
    model: o.Model = None,
    data: o.DataPath = None,
    device: o.Device = None,
    dtype: o.Dtype = None,
    seeds: o.Seeds = None,
    limit: o.Limit = None,
    out: o.Out = None,
    specs: o.Specs = None,
    part: Annotated[str | None, typer.Option("--shard", help="i/n: only this share of the cells.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each cell would run.")] = False,
    as_json: o.Json = False,
) -> None:
    """Show the cells that `run` would run, without running any."""
    from ..api import library, run_folder
    from ..plan import Options, plan, shard
    from ..plan import explain as reasons_for
    from ..store import read_cells

    wanted = Options(model, data, device, dtype, o.parse_seeds(seeds), limit)
    planned = plan(library(specs or ()), targets, wanted)
    folder = run_folder(out, targets)
    existing = read_cells(folder, with_records=False) if (folder / "cells").is_dir() else []
    cells = shard(planned.cells, part) if part else planned.cells
    reasons = reasons_for(cells, existing)
    states = {c.id: "done" if c.ok else f"{c.meta['status']} before; --retry-failed runs it again" for c in existing}
    rows = [
        {
            "id": c.id,
            **c.names,
            "seed": c.seed,
            "limit": c.limit,
            "device": c.device,
            "runs": bool(reasons[c.id]),
            "reason": reasons[c.id] or states.get(c.id, "done"),
        }
        for c in cells
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for cell, row in zip(cells, rows, strict=True):
        typer.echo(f"{row['id']}  {cell.label}" + (f"  [{row['reason']}]" if explain else ""))
    typer.echo(f"{len(rows)} cells, {sum(bool(r['runs']) for r in rows)} to run in {folder}")


class _Display:
    """A progress bar on a terminal, a line a cell elsewhere; both on standard error."""

    def __init__(self) -> None:
        self.planned: set[str] = set()
        self.todo = 0
        self._bars: Any = nullcontext()
        self._tasks: dict[str, Any] = {}
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bars = Progress(*columns, console=Console(stderr=True), transient=True)

    def __enter__(self) -> _Display:
        self._bars.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bars.__exit__(*error)

    def on_plan(self, cells: Sequence[Any], reasons: Mapping[str, str], existing: Sequence[Any]) -> None:
        self.planned = set(reasons)
        self.todo = todo = sum(map(bool, reasons.values()))
        known = {c.id: c for c in existing}
        failed = sum(not known[c.id].ok for c in cells if not reasons[c.id])
        hint = f", {failed} failed before (--retry-failed runs them again)" if failed else ""
        typer.echo(f"{len(cells)} cells, {todo} to run, {len(cells) - todo - failed} done before{hint}", err=True)

    def on_event(self, cell: Any, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "committed":
            cause = f": {str(event['cause']).splitlines()[0]}" if event["cause"] else ""
            self._line(f"{event['status']:7} {cell.label}{cause}")
            if cell.id in self._tasks:
                self._bars.remove_task(self._tasks.pop(cell.id))
            self.todo -= 1
            if not self.todo:
                self._line("intervals, ranks and report …")  # seconds, of large tables a minute
        elif isinstance(self._bars, nullcontext):
            return
        elif kind == "start":
            self._tasks[cell.id] = self._bars.add_task(cell.label, total=None)
        elif kind == "progress":
            self._bars.update(self._tasks[cell.id], completed=event["done"], total=event["total"])

    def _line(self, text: str) -> None:
        if isinstance(self._bars, nullcontext):
            typer.echo(text, err=True)
        else:
            self._bars.console.print(text, highlight=False, markup=False)
