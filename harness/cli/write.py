"""`new` and `schema`: write specs and their schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError, unknown


def new_command(
    kind: Annotated[str, typer.Argument(help="method, task, model or suite.")],
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits, . _ -")],
    like: Annotated[str | None, typer.Option("--like", help="Spec of the same kind to extend.")] = None,
    folder: Annotated[Path, typer.Option("--specs", help="Folder of specs to write into.")] = Path("specs"),
) -> None:
    """Write a commented, valid spec to start from."""
    from ..api import library
    from ..runfolder import writable
    from ..templates import TEMPLATES, spec_text

    if kind not in TEMPLATES:
        raise UsageError(unknown("kind", kind, TEMPLATES))
    file = folder / f"{kind}s" / f"{name}.yaml"
    if file.exists():
        raise UsageError(f"{file}: is there already")
    known = library([folder] if folder.is_dir() else ())
    if (kind, name) in known.entries:
        raise UsageError(f"{name!r} is the name of a {kind} already ({known.entries[kind, name].file})")
    text = spec_text(known, kind, name, like, file)
    with writable(folder):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    typer.echo(f"{file}\ncheck it with: benchwright validate {file}")


def schema_command(
    out: Annotated[Path | None, typer.Option("--out", help="Write one file for each kind into this folder.")] = None,
) -> None:
    """Print the JSON Schema of all specs, or write one file for each kind."""
    from ..kinds import KINDS
    from ..loading.schema import any_schema, schema
    from ..runfolder import writable

    if out is None:
        typer.echo(json.dumps(any_schema(), indent=1))
        return
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            text = json.dumps(schema(kind), indent=1, sort_keys=True) + "\n"
            (out / f"{kind}.schema.json").write_text(text, encoding="utf-8")
    typer.echo(f"{len(KINDS)} schemas in {out}")
