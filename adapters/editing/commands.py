"""`benchwright edit`: carry out requests on a model, score them, keep the change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import UsageError, unknown

if TYPE_CHECKING:
    from .carry import Outcome

MODES = ("single", "batch", "sequential")
CONFLICTS = ("error", "drop", "last")


def edit(
    model: Annotated[str, typer.Option(help="A spec's name, a folder, or a hub id owner/name[@revision].")],
    method: Annotated[str, typer.Option(help="A method's name, or its file.")],
    requests: Annotated[Path, typer.Option(help="JSON or JSONL: prompt, subject, target_new; see docs/editing.md.")],
    mode: Annotated[str, typer.Option(help="single: each alone; batch: all together; sequential: in turn.")] = "single",
    batch_size: Annotated[int, typer.Option(min=1, help="sequential: requests carried out together.")] = 1,
    conflicts: Annotated[
        str, typer.Option(help="Requests on one fact: error, drop (keeps the first), last.")
    ] = "error",
    save_delta: Annotated[Path | None, typer.Option(help="Write the change of the weights (safetensors).")] = None,
    save_model: Annotated[Path | None, typer.Option(help="Write the edited model as a folder.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the method's random choices.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of the method's data files.")] = None,
    specs: Annotated[list[Path] | None, typer.Option(help="Folder of your own specs (default: ./specs).")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; more than one may change last digits.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Edit a model: carry out requests, say what changed, keep the change if asked to."""
    _one_of("--mode", mode, MODES)
    _one_of("--conflicts", conflicts, CONFLICTS)
    if batch_size != 1 and mode != "sequential":
        raise UsageError("--batch-size belongs to --mode sequential; `batch` carries out all requests together")

    from ...alone import Wanted, check_writable

    check_writable("--save-delta", save_delta)
    if save_model is not None and save_model.exists() and (not save_model.is_dir() or any(save_model.iterdir())):
        raise UsageError(f"--save-model {save_model}: exists and is not an empty folder; choose another one")
    if save_model is not None and mode == "single":
        raise UsageError("--save-model keeps one model; choose --mode sequential or batch")
    if requests.is_dir():
        raise UsageError(f"--requests {requests}: is a folder; name a file in it")
    if not requests.exists():
        raise UsageError(f"--requests {requests}: no such file")

    from .carry import carry_out

    begun = time.process_time()
    wanted = Wanted(model, method, device, dtype, seed, specs or (), data, threads)
    outcome = carry_out(wanted, requests, mode, batch_size, conflicts, partial(typer.echo, err=True))
    for file, keep in ((save_delta, outcome.save_delta), (save_model, outcome.save_model)):
        _keep(file, keep)
    if as_json:
        typer.echo(json.dumps(outcome.to_json() | {"cpu_s": round(time.process_time() - begun, 3)}, indent=1))
    else:
        _show(outcome)
        for file in (save_delta, save_model):
            if file is not None:
                typer.echo(f"{file}: written", err=True)


COMMANDS: dict[str, Callable[..., None]] = {"edit": edit}


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(unknown(option, value, known))


def _keep(wanted: Path | None, keep: Callable[[Path], None]) -> None:
    if wanted is None:
        return
    from safetensors import SafetensorError

    try:
        keep(wanted)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{wanted}: cannot be written ({error})") from error


def _show(outcome: Outcome) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    answers = Table("request", "before", "after", title=f"{outcome.method} on {outcome.model}, {outcome.mode}")
    for row in outcome.rows[:_SHOWN]:
        answers.add_row(*(Text(str(row[key])) for key in ("request", "answer_before", "answer_after")))
    console.print(answers)
    if len(outcome.rows) > _SHOWN:
        console.print(f"{len(outcome.rows) - _SHOWN} more requests (--json shows all)")
    scores = Table("metric", "before", "after", "requests")
    for metric, means in outcome.means().items():
        scores.add_row(metric, _number(means["before"]), _number(means["after"]), str(means["n"]))
    console.print(scores)
    for reason, count in outcome.skipped.items():
        console.print(Text(f"left out: {reason} ({count})"))
    console.print(f"{outcome.cpu_s / max(1, len(outcome.rows)):.3f} CPU s an edit")


_SHOWN = 20
"""Requests whose answers are shown."""


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"
