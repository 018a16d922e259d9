"""`benchwright edit`: carry out requests on a model, score them, keep the change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import UsageError
from .own.how import How, check_file, check_new_folder

if TYPE_CHECKING:
    from .own.edited import Edited


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
    settings: Annotated[
        str | None,
        typer.Option(help="Take the method's settings for this model (gpt2-xl, …), whatever --model is called."),
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="Requests of other subjects, for methods that learn before they edit.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the method's random choices.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of the method's data files.")] = None,
    specs: Annotated[list[Path] | None, typer.Option(help="Folder of your own specs (default: ./specs).")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; more than one may change last digits.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Edit a model: carry out requests, say what changed, keep the change if asked to."""
    how = How(mode, batch_size, conflicts, train, partial(typer.echo, err=True))
    how.check("--")
    check_file(requests, "--requests")

    from ...alone import Wanted, check_writable

    check_writable("--save-delta", save_delta)
    if save_model is not None:
        check_new_folder(save_model, "--save-model")
        if mode == "single":
            raise UsageError("--save-model keeps one model; choose --mode sequential or batch")
    from .own.carry import carry_out

    begun = time.process_time()
    wanted = Wanted(model, method, device, dtype, seed, specs or (), data, threads, settings)
    edited = carry_out(wanted, requests, how)
    if save_delta is not None:
        edited.save_delta(save_delta)
    if save_model is not None:
        edited.save_model(save_model)
    if as_json:
        typer.echo(json.dumps(edited.to_json() | {"cpu_s": round(time.process_time() - begun, 3)}, indent=1))
    else:
        _show(edited)
        for file in (save_delta, save_model):
            if file is not None:
                typer.echo(f"{file}: written", err=True)


def import_hparams(
    file: Annotated[Path, typer.Argument(help="A hyper-parameter file of EasyEdit (hparams/ROME/gpt2-xl.yaml).")],
    out: Annotated[Path | None, typer.Option(help="Write the spec there; printed by default.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="ROME, MEMIT, …, if the file has no alg_name.")] = None,
    specs: Annotated[list[Path] | None, typer.Option(help="Folder of your own specs (default: ./specs).")] = None,
) -> None:
    """Write a hyper-parameter file of EasyEdit as a method spec; say what was not carried over."""
    from ...alone import check_writable
    from ...store import write_atomically
    from .own.importing.reading import imported

    check_file(file, "file")
    check_writable("--out", out)
    found = imported(file, algorithm, specs or ())
    if out is None:
        typer.echo(found.text, nl=False)
    else:
        try:
            write_atomically(out, found.text)
        except OSError as error:
            raise UsageError(f"--out {out}: cannot be written ({error.strerror or error})") from error
        typer.echo(f"{out}: {found.name}, which extends {found.extends}; check it with: benchwright validate {out}")
    for why, keys in found.ignored.items():
        typer.echo(f"ignored ({why}): {', '.join(keys)}", err=True)
    for key, why in found.left.items():
        typer.echo(f"NOT carried over: {key}: {why}", err=True)


COMMANDS: dict[str, Callable[..., None]] = {"edit": edit, "import-hparams": import_hparams}


def _show(edited: Edited) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    answers = Table("request", "before", "after", title=f"{edited.method_name} on {edited.model_name}, {edited.mode}")
    for row in edited.rows[:_SHOWN]:
        answers.add_row(*(Text(str(row[key])) for key in ("request", "answer_before", "answer_after")))
    console.print(answers)
    if len(edited.rows) > _SHOWN:
        console.print(f"{len(edited.rows) - _SHOWN} more requests (--json shows all)")
    scores = Table("metric", "before", "after", "requests")
    for metric, means in edited.scores.items():
        scores.add_row(metric, _number(means["before"]), _number(means["after"]), str(means["n"]))
    console.print(scores)
    for reason, count in edited.skipped.items():
        console.print(Text(f"left out: {reason} ({count})"))
    console.print(f"{edited.cpu_s / max(1, len(edited.rows)):.3f} CPU s an edit")


_SHOWN = 20
"""Requests whose answers are shown."""


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"
