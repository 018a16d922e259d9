"""What sets apart the tables of one task and the same models, in words that fit a title."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ..canonical import canonical
from ..differences import leaves, short
from ..store import Cell

_OWN = ("method", "models", "seed")
"""Parts of the identity, and of its `data`, that `comparable` leaves out."""

_FIRST = ("limit", "dtype", "device", "device_class", "data")
_MOST = 4


def differences(tables: Mapping[str, Sequence[Cell]]) -> dict[str, dict[str, str]]:
    """For each `comparable`, the leaves of the identity that are the same within it and not in all others.

    Values that are long (digests of data, prompts) are shortened to eight characters. Where nothing is
    found, the start of `comparable` itself tells the tables apart.
    """
    if len(tables) == 1:
        return {key: {} for key in tables}
    leaves = {key: _constant(cells) for key, cells in tables.items()}
    names = {name for found in leaves.values() for name in found}
    differing = [n for n in sorted(names, key=_importance) if len({found.get(n) for found in leaves.values()}) > 1]
    told: dict[str, dict[str, str]] = {}
    for key, found in leaves.items():
        named = {name: found[name] for name in islice((n for n in differing if n in found), _MOST)}
        told[key] = named or {"settings": key[:8]}
    if len({canonical(named) for named in told.values()}) < len(told):
        return {key: {**named, "settings": key[:8]} for key, named in told.items()}
    return told


def _importance(name: str) -> tuple[int, str]:
    first = name.split(".")[0]
    return (_FIRST.index(first) if first in _FIRST else len(_FIRST), name)


def _constant(cells: Sequence[Cell]) -> dict[str, str]:
    """Leaves with one value over `cells`: what varies with the method cannot set the table apart."""
    every = [dict(_leaves(cell.meta["identity"])) for cell in cells]
    return {name: value for name, value in every[0].items() if all(other.get(name) == value for other in every)}


def _leaves(identity: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The values that `comparable` covers. The usual role goes without saying: `dtype float16`, no `dtype.subject`."""
    shared = {name: value for name, value in identity.items() if name not in _OWN}
    data = {name: value for name, value in shared.get("data", {}).items() if name not in _OWN}
    for place, value in leaves({**shared, "data": data}):
        text = "all" if place == "limit" and value is None else short(value)
        yield place.removesuffix(".subject"), text[:8] if place.startswith("data.") else text
