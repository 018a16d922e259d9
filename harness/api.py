"""Benchwright from Python.

import benchwright as bw
run = bw.run("quickstart")
run.leaderboard()
run.records()
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .executors import executor as make_executor
from .kinds import DEVICE
from .loading.library import within_reach
from .loading.resolve import check
from .plan import Options, Plan, PlannedCell, explain, plan, shard
from .runfolder import describe, opened, writable
from .runner import Runner
from .store import Cell, asked_cells, current, read_cells

if TYPE_CHECKING:
    import pandas as pd

    from .leaderboards.tables import Leaderboard

OnPlan = Callable[[Sequence[PlannedCell], Mapping[str, str], Sequence[Cell]], None]
"""Told the cells, why each would run (empty: it would not), and the cells that are there."""
OnEvent = Callable[[PlannedCell, Mapping[str, Any]], None]


library = within_reach


@dataclass(frozen=True)
class Run:
    """A run folder, read when asked."""

    folder: Path
    asked: tuple[str, ...] | None = None
    """Ids of the cells that it speaks of; all of the folder when None."""

    def cells(self) -> list[Cell]:
        """Its cells, ok or not, without those that were replaced by others with new settings."""
        cells = current(read_cells(self.folder), self.asked or asked_cells(self.folder))
        return [c for c in cells if self.asked is None or c.id in self.asked]

    def records(self) -> pd.DataFrame:
        """Every record: cell, task, method, model, seed, item, metric, value, and a column for each condition."""
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
        board: Leaderboard = build.build([self.folder], self.asked)
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
                    "cell": c.id,
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
    only: Sequence[str] = (),
    executor: str = "local",
    timeout_s: float | None = None,
    specs: Sequence[str | Path] = (),
    on_plan: OnPlan = lambda cells, reasons, existing: None,
    on_event: OnEvent = lambda cell, event: None,
    on_board: Callable[[Leaderboard], None] = lambda board: None,
) -> Run:
    """Run suites, tasks and methods; cells that are there are not run again.

    targets: names or files of specs (see `plan.plan`). out: the run folder, `runs/<first target>` by default.
    fresh: run everything again. retry_failed: run cells again that failed. part: `i/n`, only this share of the groups.
    only: ids, or their beginnings, of the cells to run. executor: `local` or `inline`. timeout_s: limit of one cell.
    on_plan, on_event, on_board: told what happens, and the leaderboard of the whole folder.
    Raises BenchwrightError; a cell that fails does not raise, it is in the run's cells.
    """
    if not targets:
        raise UsageError("name a suite, a task or a method, for example: benchwright run quickstart")
    _check_numbers(limit, seeds)
    devices = _devices(device)
    options = Options(
        model=model,
        data=str(data) if data is not None else None,
        device=devices[0] if devices else None,
        dtype=dtype,
        seeds=tuple(seeds) if seeds is not None else None,
        limit=limit,
    )
    command = _command(
        targets,
        specs,
        {
            "out": out,
            "model": model,
            "data": data,
            "device": device,
            "dtype": dtype,
            "limit": limit,
            "seeds": ",".join(map(str, seeds or ())) or None,
            "executor": executor if executor != "local" else None,
            "timeout": timeout_s,
        },
    )
    planned = plan(library(specs), [str(t) for t in targets], options)
    workers = make_executor(executor)
    with opened(run_folder(out, [str(t) for t in targets])) as folder:
        cells = list(shard(planned.cells, part) if part else planned.cells)
        cells = [c for c in cells if c.id.startswith(tuple(only))] if only else cells
        existing = read_cells(folder, with_records=False)
        reasons = {c.id: "asked afresh" for c in cells} if fresh else explain(cells, existing, retry_failed)
        on_plan(cells, reasons, existing)
        describe(folder, planned, command)
        runner = Runner(
            folder,
            workers,
            devices if len(devices) > 1 else (),
            _cpu_workers(planned, executor),
            timeout_s,
            on_event,
            repeat=lambda cell: shlex.join([*command, "--retry-failed", "--only", cell.id]),
        )
        if fresh:
            runner.forget(cells)
        runner.run([c for c in cells if reasons[c.id]])
        if read_cells(folder, with_records=False):
            whole = Run(folder)
            whole.write()
            on_board(whole.board)
    return Run(folder, tuple(c.id for c in planned.cells))


def _cpu_workers(planned: Plan, executor: str) -> int:
    """Workers side by side on a CPU: as many as the suite allows and the machine has cores for."""
    if executor == "inline":
        return 1
    threads = max((cell.threads for cell in planned.cells), default=1)
    return max(1, min(planned.workers, (os.cpu_count() or 1) // threads))


def _check_numbers(limit: int | None, seeds: Sequence[int] | None) -> None:
    """Raises UsageError for what a type checker would refuse, and for numbers that mean nothing."""
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise UsageError(f"limit: got {limit!r}; expected a whole number of at least 1")
    if seeds is not None and (isinstance(seeds, str) or not seeds or not all(isinstance(s, int) for s in seeds)):
        raise UsageError(f"seeds: got {seeds!r}; expected whole numbers, for example [0, 1, 2]")


def _command(targets: Sequence[str | Path], specs: Sequence[str | Path], options: Mapping[str, object]) -> list[str]:
    """The command line that asks for the same."""
    folders = [word for folder in specs for word in ("--specs", str(folder))]
    given = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    return ["benchwright", "run", *map(str, targets), *folders, *given]


def _devices(text: str | None) -> tuple[str, ...]:
    """`cuda:0,cuda:1` as names. Raises UsageError when they are of several kinds: the kind is part of the identity."""
    devices = tuple(d.strip() for d in text.split(",")) if text else ()
    for device in devices:
        if not re.fullmatch(DEVICE, device):
            raise UsageError(f"--device: got {device!r}; expected cpu, cuda, cuda:N or mps, several by commas")
    if len({d.partition(":")[0] for d in devices}) > 1:
        raise UsageError(f"--device {text}: devices of several kinds give results that cannot stand in one table")
    return devices


def run_folder(out: str | Path | None, targets: Sequence[str]) -> Path:
    """Where a run goes: `out`, or `runs/` and the name of the first target."""
    if out is not None:
        return Path(out)
    name = Path(targets[0]).stem if targets[0].endswith((".yaml", ".yml", ".json")) else targets[0]
    return Path("runs") / name.replace(":", "-")
