"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError

Targets = Annotated[list[str], typer.Argument(help="Suites, tasks or methods: names, kind:name, or spec files.")]
Specs = Annotated[list[Path] | None, typer.Option("--specs", help="Folder of your own specs (default: ./specs).")]
Model = Annotated[
    str | None, typer.Option("--model", help="Model: a name, a spec file, a folder, or a hub id owner/name[@revision].")
]
DataPath = Annotated[str | None, typer.Option("--data", help="Folder or file of the task's data, or `hub`.")]
Device = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps; several by commas run side by side.")
]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16 or float16.")]
Seeds = Annotated[str | None, typer.Option("--seeds", help="Seeds by commas, for example 0,1,2.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use only the first items of each task.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder (default: runs/<first target>).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """`0,1,2` as numbers. Raises UsageError."""
    if text is None:
        return None
    words = [w.strip() for w in text.split(",") if w.strip()]
    if not words or not all(w.isdecimal() for w in words):
        raise UsageError(f"--seeds {text}: expected whole numbers by commas, for example 0,1,2")
    return tuple(dict.fromkeys(int(w) for w in words))
