"""Benchwright from Python.

import benchwright as bw
run = bw.run("quickstart")
run.leaderboard()
run.records()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .executors import executor as make_executor
from .loading.library import SHIPPED, Library
from .loading.resolve import check
from .plan import Options, Plan, PlannedCell, explain, plan, shard
from .runfolder import describe, opened, writable
from .runner import Runner, repeat_command
from .store import Cell, read_cells

if TYPE_CHECKING:
    import pandas as pd

    from .leaderboards.tables import Leaderboard

OnEvent = Callable[[PlannedCell, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Run:
    """A run folder, read when asked."""

    folder: Path

    def cells(self) -> list[Cell]:
        """Its cells, ok or not."""
        return read_cells(self.folder)

    def records(self) -> pd.DataFrame:
        """Every record: task, method, model, seed, item, metric, value, and a column for each condition."""
        return self._frame(lambda cell: ({**r, **r.get("at", {})} for r in cell.records)).drop(
            columns="at", errors="ignore"
        )

    def items(self) -> pd.DataFrame:
        """Every item of every cell with its attributes, those that were skipped included."""
        return self._frame(lambda cell: cell.items)

    @cached_property
    def board(self) -> Leaderboard:
        """Its leaderboard, computed once."""
        build = import_module(".leaderboards.build", __package__)
        board: Leaderboard = build.build([self.folder])
        return board

    def leaderboard(self) -> pd.DataFrame:
        """All tables as one frame: a row for each method and column, with value and interval."""
        return self.board.frame()

    def write(self) -> Path:
        """Write leaderboards and report into the folder, from its cells alone; returns the report's path."""
        # Imported by name at run time: the engine does not depend on how its results are shown.
        render = import_module(".leaderboards.render", __package__)
        reports = import_module(".reports.build", __package__)
        with writable(self.folder):
            render.write_all(self.board, self.folder)
            html, _ = reports.write_report(self.folder, self.board)
        path: Path = html
        return path

    def _frame(self, rows: Callable[[Cell], Any]) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "task": c.task,
                    "method": c.method,
                    "model": ", ".join(c.models.values()),
                    "seed": c.seed,
                    **row,
                }
                for c in self.cells()
                for row in rows(c)
            ]
        )


def open_run(folder: str | Path) -> Run:
    """A run that was made before. Raises RunError when the folder is none."""
    run = Run(Path(folder))
    run.cells()
    return run


def library(specs: Sequence[str | Path] = ()) -> Library:
    """The shipped specs, those of the folders `specs`, and those of `./specs` unless it is the shipped one."""
    folders = [Path(f) for f in specs]
    here = Path("specs")
    if not specs and here.is_dir() and here.resolve() != SHIPPED.resolve() and not (here / "__init__.py").exists():
        folders.append(here)
    return Library(folders)


def validate(path: str | Path, specs: Sequence[str | Path] = ()) -> None:
    """Check a spec file in all its forms. Raises SpecError with every problem found."""
    known = library(specs)
    resolved = Path(path).resolve()
    entry = next((e for e in known.entries.values() if e.file.resolve() == resolved), None)
    check(known, entry or known.add(Path(path)))


def run(
    *targets: str | Path,
    out: str | Path | None = None,
    model: str | None = None,
    data: str | Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    seeds: Sequence[int] | None = None,
    limit: int | None = None,
    fresh: bool = False,
    retry_failed: bool = False,
    part: str | None = None,
    executor: str = "local",
    timeout_s: float | None = None,
    specs: Sequence[str | Path] = (),
    command: Sequence[str] = (),
    on_plan: Callable[[Plan, Mapping[str, str]], None] = lambda plan, reasons: None,
    on_event: OnEvent = lambda cell, event: None,
) -> Run:
    """Run suites, tasks and methods; cells that are there are not run again.

    targets: names or files of specs (see `plan.plan`). out: the run folder, `runs/<first target>` by default.
    fresh: run everything again. retry_failed: run cells again that failed. part: `i/n`, only this share of the groups.
    executor: `local` or `inline`. timeout_s: limit of one cell. on_plan, on_event: told what happens.
    Raises BenchwrightError; a cell that fails does not raise, it is in the run's cells.
    """
    if not targets:
        raise UsageError("name a suite, a task or a method, for example: benchwright run quickstart")
    devices = tuple(d.strip() for d in device.split(",")) if device else ()
    options = Options(
        model=model,
        data=str(data) if data is not None else None,
        device=devices[0] if devices else None,
        dtype=dtype,
        seeds=tuple(seeds) if seeds is not None else None,
        limit=limit,
    )
    planned = plan(library(specs), [str(t) for t in targets], options)
    workers = make_executor(executor)
    with opened(run_folder(out, [str(t) for t in targets])) as folder:
        cells = shard(planned.cells, part) if part else planned.cells
        reasons = {c.id: "asked afresh" for c in cells} if fresh else explain(cells, read_cells(folder), retry_failed)
        on_plan(planned, reasons)
        describe(folder, planned, command)
        runner = Runner(
            folder,
            workers,
            devices,
            timeout_s,
            on_event,
            repeat=lambda cell: repeat_command(cell, folder, options.data, model),
        )
        if fresh:
            runner.forget(cells)
        runner.run([c for c in cells if reasons[c.id]])
        result = Run(folder)
        result.write()
    return result


def run_folder(out: str | Path | None, targets: Sequence[str]) -> Path:
    """Where a run goes: `out`, or `runs/` and the name of the first target."""
    if out is not None:
        return Path(out)
    name = Path(targets[0]).stem if targets[0].endswith((".yaml", ".yml", ".json")) else targets[0]
    return Path("runs") / name.replace(":", "-")
