"""`leaderboard`, `report`, `compare`, `gate`, `baseline`: what was found."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ..errors import UsageError, unknown
from ..kinds import Verdict
from . import options as o

if TYPE_CHECKING:
    from rich.console import Console

    from ..gate import Policy, Verdicts
    from ..leaderboards.tables import Leaderboard

VERDICTS = get_args(Verdict)
baseline_app = typer.Typer(help="Baselines that the gate compares with.", no_args_is_help=True)

RunFolder = Annotated[Path, typer.Argument(help="Run folder.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="Pattern of metric ids; several may be given.")]


def leaderboard_command(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, shown as one.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for csv, md, json and html (default: the first).")
    ] = None,
) -> None:
    """Print the leaderboards of run folders, and write them."""
    from ..runfolder import writable

    build = import_module("benchwright.leaderboards.build")
    render = import_module("benchwright.leaderboards.render")
    board = build.build(runs)
    target = out or runs[0]
    with writable(target):
        target.mkdir(parents=True, exist_ok=True)
        render.write_all(board, target)
    print_tables(board)
    typer.echo(f"leaderboard  {target / 'leaderboard.html'}")


def print_tables(board: Leaderboard) -> None:
    """A leaderboard on the terminal."""
    render = import_module("benchwright.leaderboards.render")
    console = _console()
    for table in board.tables:
        console.print(render.to_rich(table, console.width))


def report_command(run: RunFolder) -> None:
    """Write the leaderboards and the report of a run folder."""
    from ..api import Run

    typer.echo(f"report       {Run(run).write()}")


def compare_command(
    old: Annotated[Path, typer.Argument(help="Run folder or baseline file.")],
    new: Annotated[Path, typer.Argument(help="Run folder or baseline file.")],
    metric: Metrics = None,
    as_json: o.Json = False,
) -> None:
    """Compare two runs by paired tests; judges, but never fails."""
    from ..gate import Policy, judge
    from ..gate_output import read_baseline

    policy = Policy(metrics=tuple(metric or ()))
    _print_verdicts(judge(read_baseline(old), read_baseline(new), policy), as_json)


def gate_command(
    run: RunFolder,
    baseline: Annotated[Path, typer.Option("--baseline", help="Run folder or baseline file to hold the run against.")],
    gate: Annotated[str | None, typer.Option("--gate", help="Gate spec: a name or a file.")] = None,
    metric: Metrics = None,
    fail_on: Annotated[str | None, typer.Option("--fail-on", help=f"Verdicts by commas: {','.join(VERDICTS)}.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Append a Markdown table.")] = None,
    github: Annotated[bool, typer.Option("--github", help="Print annotations (by itself in GitHub Actions).")] = False,
    specs: o.Specs = None,
    as_json: o.Json = False,
) -> None:
    """Fail when a run is worse than a baseline: 0 ok, 1 regressed, 2 usage, 3 incomparable, missing or failed."""
    from ..gate import judge, outcome
    from ..gate_output import read_baseline, to_github, to_junit, to_markdown
    from ..runfolder import writable

    policy = _policy(gate, metric, fail_on, specs or ())
    verdicts = judge(read_baseline(baseline), read_baseline(run), policy)
    _print_verdicts(verdicts, as_json)
    if junit is not None:
        with writable(junit):
            junit.write_text(to_junit(verdicts), encoding="utf-8")
    if summary := markdown or os.environ.get("GITHUB_STEP_SUMMARY"):
        with writable(Path(summary)), Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(to_markdown(verdicts))
    if github or os.environ.get("GITHUB_ACTIONS") == "true":
        typer.echo(to_github(verdicts))
    code, sentence = outcome(verdicts, policy)
    typer.echo(sentence, err=True)
    raise typer.Exit(code)


def _policy(name: str | None, metric: list[str] | None, fail_on: str | None, specs: Sequence[Path]) -> Policy:
    from ..gate import Policy

    fields: dict[str, Any] = {}
    if name is not None:
        from ..api import library
        from ..loading.resolve import resolve
        from ..targets import find

        known = library(specs)
        spec = resolve(known, find(known, name, ("gate",))).spec
        fields = {f.name: getattr(spec, f.name) for f in dataclasses.fields(Policy)}
        fields["fail_on"] = frozenset(spec.fail_on)
    if metric:
        fields["metrics"] = tuple(metric)
    if fail_on is not None:
        fields["fail_on"] = frozenset(w.strip() for w in fail_on.split(","))
        for verdict in sorted(fields["fail_on"] - set(VERDICTS)):
            raise UsageError(f"--fail-on: {unknown('verdict', verdict, VERDICTS)}")
    return Policy(**fields)


def _print_verdicts(verdicts: Verdicts, as_json: bool) -> None:
    from ..gate_output import to_json

    if as_json:
        typer.echo(to_json(verdicts))
        return
    from rich.table import Table

    table = Table(title="Held against the baseline", title_justify="left")
    for name in ("task", "method", "metric", "old", "new", "gain", "p", "verdict", "why"):
        table.add_column(name, justify="right" if name in ("old", "new", "gain", "p") else "left")
    for row in verdicts.rows:
        numbers = (
            "" if x is None else f"{x:+.4f}" if x is row.gain else f"{x:.4f}" for x in (row.old, row.new, row.gain)
        )
        p = "" if row.p is None else f"{row.p:.2g}"
        table.add_row(row.task, row.method, row.label, *numbers, p, row.verdict, row.reason)
    _console().print(table, markup=False)


def _console() -> Console:
    from rich.console import Console

    # Into a pipe or a log there is no width to fit: columns must not be cut.
    return Console() if os.isatty(1) else Console(width=240)


@baseline_app.command("update")
def baseline_update(
    run: RunFolder, file: Annotated[Path, typer.Argument(help="Baseline file, .jsonl or .jsonl.gz.")]
) -> None:
    """Write a run's records as the new baseline; refuses a run with cells that are not ok."""
    from ..gate_output import read_baseline, write_baseline

    write_baseline(read_baseline(run), file)
    typer.echo(f"baseline     {file}")
