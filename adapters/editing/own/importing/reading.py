"""A hparams file of EasyEdit as a method spec: what was carried over, and, key by key, what was not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .....errors import DataError, UsageError, closest
from .....loading.library import Library, within_reach
from .....loading.resolve import check
from .....loading.tree import parse_tree, read_tree
from .table import Entry, entry
from .values import CONVERSIONS, plain


@dataclass(frozen=True)
class Imported:
    """What became of a file."""

    name: str
    extends: str
    algorithm: Mapping[str, Any]
    """The fields that the file says; those of `extends` hold for the rest."""
    ignored: Mapping[str, Sequence[str]]
    """Reason to the keys that are no part of a method."""
    left: Mapping[str, str]
    """Keys that say something about the method and could not be carried over, with the reason."""
    text: str
    """The spec."""


def imported(file: Path, algorithm: str | None = None, specs: Sequence[Path] = ()) -> Imported:
    """Read a hparams file. `algorithm`: its name, where the file does not say it as `alg_name`.

    The spec says outright what the file says, so that no setting of the method for a model comes in between. Raises
    SpecError for a text that is no YAML, DataError for one that has no hparams, UsageError for an unknown algorithm.
    """
    data = read_tree(file).data
    if not isinstance(data, dict):
        raise DataError(f"{file}: expected a map of hyper-parameters, as EasyEdit's hparams files have")
    return converted(data, file, algorithm, within_reach(specs))


def converted(data: Mapping[str, Any], file: Path, algorithm: str | None, library: Library) -> Imported:
    """See `imported`; `file`: which it is, for the name and for errors."""
    known = entry(_algorithm(data, file, algorithm))
    values = dict(_flat(data))
    extends, decided = _extended(known, values, file)
    fields: dict[str, Any] = {}
    ignored: dict[str, list[str]] = {}
    left: dict[str, str] = {}
    for key, value in values.items():
        if key == decided:
            continue
        if key in known.fields:
            to, conversion = known.fields[key]
            try:
                _put(fields, to, CONVERSIONS[conversion](plain(value)))
            except (ValueError, TypeError) as error:
                left[key] = f"{value!r}: {error}"
        elif key in known.only:
            if not _same(plain(value), known.only[key]):
                left[key] = f"{value!r}; here it is always {known.only[key]!r}"
        elif key in known.idle.get("keys", ()) and values.get(known.idle["by"]) == known.idle["value"]:
            ignored.setdefault(f"{known.idle['by']} is {known.idle['value']}", []).append(key)
        elif key in known.apart:
            left[key] = known.apart[key]
        elif key in known.ignored:
            ignored.setdefault(known.ignored[key], []).append(key)
        else:
            near = closest(key, [*known.fields, *known.only, *known.apart, *known.ignored])
            left[key] = "not known for this algorithm" + (f"; did you mean {near!r}?" if near else "")
    for to, value in known.beside.get(extends, {}).items():
        _put(fields, to, value)
    name = f"{extends}-{_slug(file.stem)}-easyedit"
    text = _text(name, extends, fields, left, file)
    tree = parse_tree(text, f"{file} (as a spec)")
    check(library, library.entry_of(tree, Path(f"{name}.yaml")))
    return Imported(name, extends, fields, ignored, left, text)


def _algorithm(data: Mapping[str, Any], file: Path, given: str | None) -> str:
    said = given or data.get("alg_name") or data.get("alg")
    if not isinstance(said, str) or not said:
        raise UsageError(f"{file}: has no alg_name; say the algorithm with --algorithm (ROME, MEMIT, …)")
    return said


def _flat(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def _extended(known: Entry, values: Mapping[str, Any], file: Path) -> tuple[str, str]:
    """The method, and the key that decided. Raises UsageError where it decides for none that we have."""
    if isinstance(known.extends, str):
        return known.extends, ""
    choices = {k: v for k, v in known.extends.items() if k != "by"}
    key = known.extends["by"]
    value = values.get(key)
    said = str(value).lower() if isinstance(value, bool) else str(value)
    if key not in values or said not in choices:
        got = f"got {value!r}" if key in values else "it is missing"
        raise UsageError(f"{file}: {key}: expected {' or '.join(choices)}, {got}")
    return choices[said], key


def _put(fields: dict[str, Any], to: str, value: Any) -> None:
    if not to:
        fields.update(value)
        return
    *folders, last = to.split(".")
    for folder in folders:
        fields = fields.setdefault(folder, {})
    fields[last] = value


def _same(value: Any, only: Any) -> bool:
    numbers = not isinstance(value, bool) and not isinstance(only, bool)
    return value == only if numbers or isinstance(value, bool) == isinstance(only, bool) else False


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "hparams"


def _text(name: str, extends: str, fields: Mapping[str, Any], left: Mapping[str, str], file: Path) -> str:
    about = f"Hyper-parameters of EasyEdit's {file.name}"
    about += f"; not carried over: {', '.join(left)}." if left else "."
    head: dict[str, Any] = {"kind": "method", "name": name, "extends": extends, "description": about}
    body = {**head, "algorithm": dict(fields)} if fields else head
    text: str = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)
    return text
