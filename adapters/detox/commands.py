"""`benchwright detox`: detoxify a model, for single instances or on a whole task, and say what it did and cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import UsageError

if TYPE_CHECKING:
    from .carried import Carried, Whole

_SHOWN = 20
"""Instances that are shown."""


def detox(
    model: Annotated[str, typer.Option(help="A spec's name, a folder, or a hub id owner/name[@revision].")],
    method: Annotated[str, typer.Option(help="A method's name, or its file.")],
    task: Annotated[str | None, typer.Option(help="A detox task, all of it: forbidden, safeedit …")] = None,
    requests: Annotated[
        Path | None, typer.Option(help="In place of --task: single instances in SafeEdit's format (JSON).")
    ] = None,
    save_delta: Annotated[
        Path | None, typer.Option(help="With --requests: write the change for each instance (safetensors).")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="With --task: write a page with what is shown of it.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first instances.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the method's random choices.")] = 0,
    data: Annotated[str | None, typer.Option(help="Folder of the data files of task and method, or hub.")] = None,
    specs: Annotated[list[Path] | None, typer.Option(help="Folder of your own specs (default: ./specs).")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; more than one may change last digits.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Detoxify a model and say how safe it is, what it refuses for no reason, and what else changed."""
    if (task is None) == (requests is None):
        raise UsageError("name what to do: either --task NAME or --requests FILE")
    if save_delta is not None and requests is None:
        raise UsageError("--save-delta keeps what was changed for single instances; it belongs to --requests")
    if html is not None and task is None:
        raise UsageError("--html shows a task; it belongs to --task")

    from ...alone import Wanted, check_writable

    for option, file in (("--save-delta", save_delta), ("--html", html)):
        check_writable(option, file)
    if requests is not None and not requests.is_file():
        raise UsageError(
            f"--requests {requests}: {'is a folder; name a file in it' if requests.exists() else 'no such file'}"
        )

    begun = time.process_time()
    folder = Path(data) if data is not None and Path(data).is_dir() else None
    wanted = Wanted(model, method, device, dtype, seed, specs or (), folder, threads)
    tell = partial(typer.echo, err=True)
    said: dict[str, Any]
    show: Callable[[], None]
    if requests is not None:
        from .carried import carry_out

        carried = carry_out(wanted, requests, limit, tell)
        if save_delta is not None:
            _keep(save_delta, carried)
        said, show = carried.to_json(), partial(_show_instances, carried)
    else:
        from ...alone import write_page
        from .carried import on_task

        assert task is not None
        whole = on_task(wanted, task, data, limit, tell)
        if html is not None:
            write_page(html, f"{whole.method} on {whole.model}", whole.task.description, whole.exhibits)
        said, show = whole.to_json(), partial(_show_values, whole)
    if as_json:
        said["cpu_s"] = round(time.process_time() - begun, 3)
        typer.echo(json.dumps(said, indent=1, allow_nan=False))
    else:
        show()
    for written in (save_delta, html):
        if written is not None:
            tell(f"{written}: written")


COMMANDS: dict[str, Callable[..., None]] = {"detox": detox}


def _keep(file: Path, carried: Carried) -> None:
    from safetensors import SafetensorError

    from ..lm.patch import save_each

    try:
        save_each(file, carried.patches)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{file}: cannot be written ({error})") from error


def _show_instances(carried: Carried) -> None:
    from rich.console import Console
    from rich.table import Table

    from .carried import differences, shown

    console = Console()
    # Only DINM locates a layer and tells of its losses.
    table = Table(*("instance", "layer", "updates", "first loss", "last loss"))
    for row in (row for row in carried.rows[:_SHOWN] if "layer" in row):
        losses = row["loss"]
        ends = (f"{losses[0]:.4f}", f"{losses[-1]:.4f}") if None not in losses else ("–", "–")
        table.add_row(str(row["id"]), str(row["layer"]), str(len(losses) - 1), *ends)
    if table.rows:
        console.print(table)
    if len(carried.rows) > _SHOWN:
        console.print(f"{len(carried.rows) - _SHOWN} more instances (--json shows all)")
    count = f"{len(carried.rows)} instance{'s' * (len(carried.rows) != 1)}"
    title = f"{carried.method} on {carried.model}, {count}: mean NLL, nats per token"
    nll = Table("response", "NLL before", "NLL after", title=title)
    for answer, means in differences(carried.rows).items():
        nll.add_row(answer, shown(means["before"]), shown(means["after"]))
    console.print(nll)
    _left_out(console, carried.skipped)


def _show_values(whole: Whole) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from .carried import shown

    console, titles = Console(), {m.id: m for m in whole.task.protocol.metrics()}
    title = f"{whole.task.title or whole.task.name}: {whole.method} on {whole.model}"
    table = Table("metric", "untouched", "detoxified", "items", title=title)
    for name, found in whole.values.items():
        metric = titles[name.partition("[")[0]]
        arrow = {"higher": " ↑", "lower": " ↓", "none": ""}[metric.better]
        numbers = (shown(found[key]) for key in ("before", "value", "n"))
        table.add_row(Text(f"{metric.title} {name.removeprefix(metric.id)}".strip() + arrow), *numbers)
    console.print(table)
    _left_out(console, whole.skipped)


def _left_out(console: Any, skipped: Mapping[str, int]) -> None:
    from rich.text import Text

    for reason, count in skipped.items():
        console.print(Text(f"left out: {reason} ({count})"))
