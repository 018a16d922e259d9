"""`benchwright instruct`: put instruction data through a pipeline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import Interrupted, UsageError
from .formats.records import SUFFIXES

if TYPE_CHECKING:
    from .process import Account

app = typer.Typer(help="Instruction data: generate, select, rewrite.", no_args_is_help=True)
COMMANDS: dict[str, typer.Typer] = {"instruct": app}

NOT_JUDGED = 3
"""Exit code when rows are left that no stage could judge."""


@app.callback()
def _group() -> None:
    pass


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="A method's file, or its name: `benchwright list method`.")],
    source: Annotated[
        str, typer.Option("--in", help="JSON, JSON Lines (.gz too), Parquet; a saved data set's folder; hf:owner/name.")
    ],
    out: Annotated[Path, typer.Option(help="File for the rows that are kept: .jsonl, .json, .parquet, or a folder.")],
    rejected: Annotated[
        Path | None, typer.Option(help="File for the others, with stage and reason (default: beside --out).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on: replies that were paid for are not asked for again.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write over files that exist, and ask everything anew.")
    ] = False,
    format: Annotated[
        str | None, typer.Option(help="Format of the records; recognised by the first one if not given.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="ROLE=NAME: a model for a role of the pipeline; may be repeated.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Of all models of the pipeline.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all random choices.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first rows.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; more than one may change last digits.")] = 1,
    data: Annotated[Path | None, typer.Option(help="Folder of the data files that stages name.")] = None,
    specs: Annotated[list[Path] | None, typer.Option(help="Folder of your own specs (default: ./specs).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: what each stage did, and what it cost.")] = False,
) -> None:
    """Put a file through a pipeline. Every row is written: kept, or turned away with the stage and the reason."""
    from ...alone import method_alone
    from ..progress import bar
    from .formats.records import records
    from .formats.shapes import shape
    from .formats.writing import check_output
    from .process import Account, process
    from .written import Written

    aside, journals = rejected or _beside(out), out.with_name(f"{out.name}.replies")
    if resume and force:
        raise UsageError("--resume goes on with what is there, --force starts anew: choose one")
    if out.absolute() == aside.absolute():
        raise UsageError(f"--rejected {aside}: is --out as well")
    for option, path in (("--out", out), ("--rejected", aside)):
        check_output(option, path, force or resume, source)
    if journals.exists() and not (force or resume):
        raise UsageError(f"{journals} holds replies of an earlier run: --resume goes on with them, --force starts anew")
    if format is not None:
        shape(format)
    roles, account = _roles(model or ()), Account()
    opened = method_alone(pipeline, models=roles, device=device, specs=specs or (), data=data, threads=threads)
    try:
        found = records(source)
        same = {"pipeline": opened.identity, "in": source, "format": format, "seed": seed, "limit": limit}
        with (
            Written(out, aside, journals, same, anew=force, resume=resume) as written,
            bar("rows", account.line) as progress,
        ):
            process(
                opened,
                found,
                source,
                keep=written.keep,
                turn_away=written.turn_away,
                journal=written.journal,
                format=format,
                seed=seed,
                limit=limit,
                account=account,
                progress=progress,
            )
    except KeyboardInterrupt as error:
        left = [f"{path}.unfinished" for path in (out, aside) if Path(f"{path}.unfinished").exists()]
        raise Interrupted(
            f"interrupted; {'what there was by then is in ' + ' and '.join(left) if left else 'nothing was written'}; "
            "the same command with --resume goes on"
        ) from error
    finally:
        opened.close()
    if as_json:
        typer.echo(json.dumps(account.to_json(), indent=1, allow_nan=False))
    else:
        _show(account)
    typer.echo(f"{out}: {account.kept} rows; {aside}: {written.rejected}", err=True)
    for warning in account.warnings():
        typer.echo(warning, err=True)
    if account.tally.failed:
        typer.echo(f"{account.tally.failed} rows were not judged: the same command with --resume asks again", err=True)
        raise typer.Exit(NOT_JUDGED)


def _beside(out: Path) -> Path:
    """`kept.rejected.jsonl` beside `kept.jsonl`; of other formats JSON Lines as well, which any row fits in."""
    suffix = next((s for s in SUFFIXES if out.name.endswith(s)), "")
    return out.with_name(f"{out.name.removesuffix(suffix)}.rejected.jsonl")


def _roles(said: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in said:
        role, _, name = text.partition("=")
        if not role or not name:
            raise UsageError(f"--model {text}: expected ROLE=NAME, for example judge=my-endpoint")
        found[role] = name
    return found


def _show(account: Account) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "in", "kept", "turned away", "CPU s", title=f"{account.read} records ({account.format})")
    for stage in (account.reading, *account.tally.stages) if account.reading.reasons else account.tally.stages:
        reasons = ", ".join(f"{reason} {count}" for reason, count in stage.reasons.most_common())
        table.add_row(stage.name, str(stage.taken), str(stage.kept), reasons, f"{stage.cpu_s:.2f}")
    console = Console()
    console.print(table)
    for role, asked in account.asked.items():
        failed = "".join(f", {count} {kind}" for kind, count in sorted(asked.errors.items()))
        console.print(
            f"{account.models[role]}: {asked.requests} requests, {asked.from_journal} from the journal{failed}"
        )
    if account.asked:
        console.print(account.line())
