"""`validate`, `list`, `show`, `doctor`: look without running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import Problem, SpecError, UsageError
from ..kinds import KINDS
from . import options as o


def validate_command(
    paths: Annotated[list[Path], typer.Argument(help="Spec files, or folders of them.")],
    specs: o.Specs = None,
) -> None:
    """Check spec files: every problem of every file, with its place and what is expected."""
    from ..api import library
    from ..loading.library import spec_files
    from ..loading.resolve import check

    known = library(specs or ())
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        found = spec_files(path) if path.is_dir() else [path]
        if not found:
            raise UsageError(f"{path}: holds no spec (*.yaml, *.yml, *.json)")
        files += found
    by_file = {e.file.resolve(): e for e in known.entries.values()}
    problems: list[Problem] = []
    entries = []
    for file in files:
        # All are read before any is checked, so that specs validated together may name one another.
        try:
            entries.append(by_file.get(file.resolve()) or known.add(file))
        except SpecError as error:
            problems += error.problems
    for entry in entries:
        try:
            check(known, entry)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    typer.echo(f"{len(files)} spec{'s' if len(files) != 1 else ''} ok")


def list_command(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}; all without.")] = None,
    specs: o.Specs = None,
    as_json: o.Json = False,
) -> None:
    """List the specs within reach."""
    from ..api import library
    from ..errors import unknown

    if kind is not None and kind.removesuffix("s") not in KINDS:
        raise UsageError(unknown("kind", kind, KINDS))
    known = library(specs or ())
    wanted = [kind.removesuffix("s")] if kind else list(KINDS)
    rows = [
        {"kind": e.kind, "name": e.name, "title": e.title, "file": str(e.file), "built_in": e.shipped}
        for k in wanted
        for (_, _), e in sorted(known.entries.items())
        if e.kind == k
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        width = max((len(str(r["name"])) for r in rows), default=0)
        for row in rows:
            origin = "" if row["built_in"] else f"  ({row['file']})"
            typer.echo(f"{row['kind']:10} {row['name']:{width}}  {row['title']}{origin}")


def show_command(
    name: Annotated[str, typer.Argument(help="A spec: name, kind:name, or file.")],
    resolved: Annotated[bool, typer.Option("--resolved", help="With everything inherited and every default.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="As it is for this model (implies --resolved).")] = None,
    specs: o.Specs = None,
) -> None:
    """Show a spec as written, or resolved."""
    from ..api import library
    from ..loading.models import model_spec
    from ..loading.resolve import resolve, resolved_json
    from ..targets import find

    known = library(specs or ())
    entry = find(known, name, tuple(KINDS))
    if not resolved and model is None:
        typer.echo(f"# {entry.file}")
        typer.echo(entry.file.read_text(encoding="utf-8"), nl=False)
        return
    names = model_spec(known, model).lineage if model else ()
    typer.echo(dump_yaml(resolved_json(resolve(known, entry, names).spec)), nl=False)


def dump_yaml(data: Any) -> str:
    """Data as YAML that reads back the same here."""
    import yaml

    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
    return text


def doctor_command(as_json: o.Json = False) -> None:
    """Versions, devices, caches; what is missing, and how to get it."""
    from ..doctor import examine

    report = examine()
    if as_json:
        typer.echo(json.dumps(report, indent=1))
        return
    for section, lines in report.items():
        typer.echo(f"{section}")
        for key, value in lines.items():
            typer.echo(f"  {key:16} {value}")
