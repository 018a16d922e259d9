"""`benchwright circuit`: find a circuit on a model, judge it, keep its scores and its picture."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    top_k: Annotated[int | None, typer.Option(min=1, help="Edges of the circuit.")] = None,
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
    for option, file in (("--save", save), ("--dot", dot), ("--html", html)):
        _writable(option, file)
    file, examples = _pairs(pairs) if pairs is not None else (None, None)

    from ...alone import Wanted, write_page
    from .exhibits import exhibits
    from .found import Asked, find_circuit
    from .written import dot_text, lead, page_exhibits, scores_json

    begun = time.process_time()
    wanted = Wanted(model, method, device, dtype, seed, specs or (), None, threads)
    asked = Asked(file, examples, task, data, limit, top_k, threshold, ungroup, batch, curve=html is not None)
    found = find_circuit(wanted, asked, partial(typer.echo, err=True))
    said = scores_json(found)
    if save is not None:
        _write(save, json.dumps(said, indent=1, allow_nan=False) + "\n")
    if dot is not None:
        _write(dot, dot_text(exhibits(found.analyzer, found.attribution, found.circuit, "")["circuit"]))
    if html is not None:
        write_page(html, f"Circuit of {found.model}", lead(found), page_exhibits(found))
    if as_json:
        said["cpu_s"] = round(time.process_time() - begun, 3)
        typer.echo(json.dumps(said, indent=1, allow_nan=False))
    else:
        _show(found)
    for written in (save, dot, html):
        if written is not None:
            typer.echo(f"{written}: written", err=True)


COMMANDS: dict[str, Callable[..., None]] = {"circuit": circuit}


def _writable(option: str, file: Path | None) -> None:
    if file is not None and not file.absolute().parent.is_dir():
        raise UsageError(f"{option} {file}: there is no folder {file.parent}")
    if file is not None and file.is_dir():
        raise UsageError(f"{option} {file}: is a folder; name a file in it")


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


def _show(found: Found) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from .written import SENSE

    console, graph = Console(), found.graph
    nodes = found.attribution.granularity == "node"
    inside = set(np.flatnonzero(found.circuit.any(1) if nodes else found.circuit[tuple(graph.edges.T)]))
    order = [i for i in np.argsort(-np.abs(found.scores), kind="stable") if i in inside]
    title = f"{found.method} on {found.model}, {found.pairs} pairs"
    strongest = Table("node" if nodes else "edge", "score", "95 % interval", title=title)
    names = found.names
    for i in order[:_SHOWN]:
        half = None if found.spread is None else found.spread[i]
        span = "–" if half is None else f"[{found.scores[i] - half:.3f}, {found.scores[i] + half:.3f}]"
        strongest.add_row(Text(names[i]), f"{found.scores[i]:.3f}", Text(span))
    console.print(strongest)
    if len(order) > _SHOWN:
        console.print(f"{len(order) - _SHOWN} more (--json shows all)")
    values = Table("", "model", "circuit", "every edge ablated", title="on the pairs the circuit was found on")
    v, empty = found.values, np.zeros_like(found.circuit)
    masks = (graph.allowed, found.circuit, empty)
    values.add_row("edges", *(str(int(mask.sum())) for mask in masks))
    values.add_row("nodes", *(str(len(graph.nodes_in(mask))) for mask in masks))
    target = found.analyzer.target.type.replace("_", " ")
    values.add_row(target, *(_number(v[name]) for name in ("model", "circuit", "empty")))
    values.add_row("faithfulness", "1.000", _number(v["faithfulness"]), "0.000")
    values.add_row("Hit@10", _number(v["hit10.model"]), _number(v["hit10.circuit"]), "")
    console.print(values)
    console.print(Text(SENSE))
    for reason, count in found.skipped.items():
        console.print(Text(f"left out: {reason} ({count})"))


_SHOWN = 20
"""Edges that are shown."""


def _number(value: Any) -> str:
    # Adding 0 takes the sign from what is rounded to nothing.
    return f"{round(value, 3) + 0.0:.3f}" if math.isfinite(value) else "–"
