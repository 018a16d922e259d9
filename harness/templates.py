"""The text of a new spec: short, valid, and with what can be changed as comments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from .kinds import component_fields
from .loading.library import Library
from .loading.resolve import check, resolve, resolved_json
from .loading.tree import parse_tree

TEMPLATES: Mapping[str, str] = {
    "method": "ft-m",
    "task": "atlas-small-edit",
    "model": "atlas-small",
    "suite": "quickstart",
}
"""The kinds that `benchwright new` writes, with the spec that a new one extends when none is named."""

_WHAT = {
    "method": "A method: an algorithm with all its parameters.",
    "task": "A task: data, and the protocol that scores a method on it.",
    "model": "A model: where its weights come from, its number format and its device.",
    "suite": "A suite: blocks of tasks and methods that are crossed.",
}
_RUN = {
    "method": "benchwright run quickstart {file}",
    "task": "benchwright run {file} METHOD",
    "model": "benchwright run quickstart --model {name}",
    "suite": "benchwright run {file}",
}


def spec_text(library: Library, kind: str, name: str, like: str | None, file: Path) -> str:
    """A commented spec that extends `like`. Raises SpecError, UsageError for a bad name or an unknown parent."""
    parent = library.get(kind, like or TEMPLATES[kind])
    inherited = resolved_json(resolve(library, parent).spec)
    fields = [*component_fields(kind), "blocks", "seeds", "metrics"]
    shown = {k: inherited[k] for k in fields if k in inherited}
    body = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
    text = "\n".join(
        [
            f"# {_WHAT[kind]}",
            f"# Check it: benchwright validate {file}",
            f"# Run it:   {_RUN[kind].format(file=file, name=name)}",
            f"kind: {kind}",
            f"name: {name}",
            f"title: {name}",
            f"extends: {parent.name}",
            "",
            "# What it inherits. Uncomment and change what shall differ: maps merge, lists replace.",
            *(f"# {line}" for line in body.splitlines()),
            "",
        ]
    )
    check(library, library.entry_of(parse_tree(text, str(file)), file))
    return text
