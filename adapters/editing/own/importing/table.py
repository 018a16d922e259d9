"""The table of easyedit.yaml.

For each of the peer's algorithms:

- `extends`: the method here, or `{by: KEY, VALUE: METHOD, …}` where a key decides;
- `fields`: the peer's key to the field of the algorithm, or to `{to: FIELD, as: CONVERSION}` (values.py; an empty field
  is the algorithm itself), or to null to take one of `like` back;
- `only`: keys for which we have this one value;
- `apart`: keys that are not carried over, with the reason;
- `with`: fields that a method here needs beside, to do what the peer does;
- `ignored`: reasons, with the keys that are no part of a method; `idle`: see `Entry`;
- `like`: an algorithm whose entries come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .....errors import UsageError, unknown
from .....loading.tree import read_tree

ELSEWHERE = {
    "MEMIT-FE": "MEMIT with other contexts; import MEMIT's file",
    "EAMET": "no method of this kind is here",
    "SPHERE": "no method of this kind is here",
    "QLoRA": "a change of quantised weights is no sum; `lora` edits full ones",
    "DeCo": "it is a way of decoding, no editor",
}
"""Algorithms of the peer that have no method here, with the reason."""


@dataclass(frozen=True)
class Entry:
    """One of the peer's algorithms."""

    name: str
    extends: str | Mapping[str, str]
    fields: Mapping[str, tuple[str, str]]
    """The peer's key to our field, with dots, and the name of a conversion."""
    only: Mapping[str, Any]
    apart: Mapping[str, str]
    ignored: Mapping[str, str]
    """Key to the reason."""
    idle: Mapping[str, Any]
    """`{by: KEY, value: VALUE, keys: […]}`: keys that say nothing where another one has this value; may be empty."""
    beside: Mapping[str, Mapping[str, Any]]
    """Method to the fields of `with`."""


def entry(algorithm: str) -> Entry:
    """By the peer's name, whatever its case. Raises UsageError."""
    table = _table()
    known = {name.lower(): name for name in table if name != "common"}
    aliases = {"rrome": "r-rome", "adalora": "lora", "ft-m": "ft", "ft-l": "ft"}
    name = algorithm.lower()
    name = aliases.get(name, name)
    if name not in known:
        for other, why in ELSEWHERE.items():
            if other.lower() == name:
                raise UsageError(f"algorithm {other} has no method here: {why}")
        raise UsageError(unknown("algorithm", algorithm, known.values()))
    return _entry(table, known[name])


def names() -> list[str]:
    """All algorithms of the table."""
    return [name for name in _table() if name != "common"]


@cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = read_tree(Path(__file__).with_name("easyedit.yaml")).data
    return found


def _entry(table: Mapping[str, Any], name: str) -> Entry:
    chain = [table[name]]
    while like := chain[0].get("like"):
        chain.insert(0, table[like])
    every = [item for said in (table["common"], *chain) for item in said.get("ignored", {}).items()]
    ignored = {key: why for why, keys in every for key in keys}
    idle: Mapping[str, Any] = next((said["idle"] for said in reversed(chain) if "idle" in said), {})
    fields: dict[str, tuple[str, str]] = {}
    only, apart = ({k: v for said in chain for k, v in said.get(part, {}).items()} for part in ("only", "apart"))
    for said in chain:
        for key, to in said.get("fields", {}).items():
            fields[key] = ("", "") if to is None else (to, "") if isinstance(to, str) else (to["to"], to["as"])
            if to is None:
                del fields[key]
            # What a method carries over, the one that it is like may have restricted.
            only.pop(key, None)
            apart.pop(key, None)
    return Entry(name, chain[-1]["extends"], fields, only, apart, ignored, idle, chain[-1].get("with", {}))
