"""A model by what the command line or a suite calls it: a spec's name, a folder, or a hub id."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..errors import UsageError, unknown
from .library import SUFFIXES, Entry, Library
from .merge import merged
from .resolve import Resolved, resolve
from .tree import parse_tree

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


def model_spec(library: Library, name: str, device: str | None = None, dtype: str | None = None) -> Resolved:
    """The model's spec with device and dtype laid over it.

    `name`: a spec, a spec's file, a folder in Hugging Face format, or a hub id `owner/name[@revision]`.
    Raises SpecError, UsageError.
    """
    entry = library.entries.get(("model", name)) or _from_file(library, name) or _from_path(name) or _from_hub(name)
    if entry is None:
        raise UsageError(f"{unknown('model', name, library.names('model'))} (no folder of that name either)")
    over = {k: v for k, v in (("device", device), ("dtype", dtype)) if v is not None}
    if over:
        laid = parse_tree(json.dumps(over), "command line")
        entry = Entry(entry.kind, entry.name, entry.file, merged(entry.tree, laid), entry.shipped)
    return resolve(library, entry)


def _from_file(library: Library, name: str) -> Entry | None:
    file = Path(name)
    if file.suffix not in SUFFIXES:
        return None
    if not file.is_file():
        raise UsageError(f"--model {name}: no such file")
    known = [e for e in library.entries.values() if e.file.resolve() == file.resolve()]
    entry = known[0] if known else library.add(file)
    if entry.kind != "model":
        raise UsageError(f"--model {name}: is a {entry.kind}; expected a model")
    return entry


def _from_path(name: str) -> Entry | None:
    folder = Path(name)
    if not folder.is_dir():
        return None
    slug = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._") or "model"
    return _entry(slug, {"type": "local", "path": str(folder.resolve())})


def _from_hub(name: str) -> Entry | None:
    if not _HUB_ID.fullmatch(name) or name.startswith("."):
        return None
    repository, _, revision = name.partition("@")
    source = {"type": "hub", "id": repository, **({"revision": revision} if revision else {})}
    return _entry(repository.split("/")[1].lower(), source)


def _entry(name: str, source: dict[str, str]) -> Entry:
    spec = {"kind": "model", "name": name, "source": source}
    return Entry("model", name, Path("command line"), parse_tree(json.dumps(spec), "--model"), False)
