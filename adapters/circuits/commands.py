"""`benchwright circuit`: find a circuit on a model, judge it, keep its scores and its picture."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError

if TYPE_CHECKING:
    from .found import Found


def circuit(
    model: Annotated[str, typer.Option(help="A spec's name, a folder, or a hub id owner/name[@revision].")],
    method: Annotated[str, typer.Option(help="A method's name, or its file.")],
    pairs: Annotated[
        str | None, typer.Option(help="JSON or JSONL: clean, corrupt, answer, wrong; FILE:EXAMPLES of several lists.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="In place of --pairs: a task whose questions are asked.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Edges of the circuit, before dead ends are pruned.")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, help="In place of --top-k: the least score, in the target's unit.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write all scores (JSON).")] = None,
    dot: Annotated[Path | None, typer.Option(help="Write the circuit for Graphviz.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page: the circuit, faithfulness over sizes.")] = None,
    ungroup: Annotated[
        bool, typer.Option("--ungroup", help="Keys and values apart for query heads that share them.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the method's random choices.")] = 0,
    data: Annotated[str | None, typer.Option(help="Folder of the task's data files, or hub.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first questions.")] = None,
    specs: Annotated[list[Path] | None, typer.Option(help="Folder of your own specs (default: ./specs).")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; more than one may change last digits.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Prompts in one forward pass.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the circuit that answers some questions: score a model's edges, keep the best, see how they do alone."""
    if (pairs is None) == (task is None):
        raise UsageError("name the questions: either --pairs FILE or --task NAME")
    if data is not None and task is None:
        raise UsageError("--data is where a task's files are; it belongs to --task")
    if top_k is not None and threshold is not None:
        raise UsageError("--top-k and --threshold are two ways to cut the circuit; choose one")

    from ...alone import Wanted, check_writable, write_page

    for option, file in (("--save", save), ("--dot", dot), ("--html", html)):
        check_writable(option, file)
    file, examples = _pairs(pairs) if pairs is not None else (None, None)

    from .found import Asked, find_circuit
    from .written import dot_text, lead, page_exhibits, scores_json, warnings

    begun = time.process_time()
    wanted = Wanted(model, method, device, dtype, seed, specs or (), None, threads)
    asked = Asked(file, examples, task, data, limit, top_k, threshold, ungroup, batch, curve=html is not None)
    tell = partial(typer.echo, err=True)
    with _bar("scoring") as progress:
        found = find_circuit(wanted, asked, tell, progress)
    for warning in warnings(found):
        tell(f"warning: {warning}")
    said, exhibits = scores_json(found), page_exhibits(found)
    if save is not None:
        _write(save, json.dumps(said, indent=1, allow_nan=False) + "\n")
    if dot is not None:
        _write(dot, dot_text(exhibits[0]))
    if html is not None:
        write_page(html, f"Circuit of {found.model}", lead(found), exhibits)
    if as_json:
        said["cpu_s"] = round(time.process_time() - begun, 3)
        typer.echo(json.dumps(said, indent=1, allow_nan=False))
    else:
        _show(found)
    for written in (save, dot, html):
        if written is not None:
            tell(f"{written}: written")


COMMANDS: dict[str, Callable[..., None]] = {"circuit": circuit}


def _pairs(text: str) -> tuple[Path, str | None]:
    """File and examples of `FILE[:EXAMPLES]`; a file's own name may have a colon. Raises UsageError."""
    whole, (name, _, examples) = Path(text), text.rpartition(":")
    file, chosen = (whole, None) if whole.exists() or not name else (Path(name), examples)
    if file.is_dir():
        raise UsageError(f"--pairs {file}: is a folder; name a file in it")
    if not file.exists():
        raise UsageError(f"--pairs {file}: no such file")
    if chosen == "":
        raise UsageError(f"--pairs {text}: write the name of the examples behind the colon, or no colon")
    return file, chosen


def _write(file: Path, text: str) -> None:
    from ...store import write_atomically

    try:
        write_atomically(file, text)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written ({error.strerror})") from error


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """How far something long is, on a terminal's standard error and until it is done; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(title, visible=False)
        yield lambda done, total: shown.update(task, completed=done, total=total, visible=done < total)


def _show(found: Found) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from .written import NUMBERS, SCORES, numbers, sense, size, strongest

    console, of = Console(), found.attribution.granularity
    title = f"{found.method} on {found.model}, {found.pairs} pairs: strongest {of}s"
    for table, rows in (
        (Table(of, *SCORES, title=title), strongest(found)),
        (Table(*NUMBERS, title="on the pairs the circuit was found on"), numbers(found)),
    ):
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    console.print(Text(f"{size(found)}; --json shows all"))
    console.print(Text(sense(found)))
    for reason, count in found.skipped.items():
        console.print(Text(f"left out: {reason} ({count})"))
