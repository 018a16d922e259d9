"""How two identities differ, in words. Used to explain a plan, a verdict of the gate, and the title of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .canonical import canonical, digest

LONGEST = 40
"""Characters of a value that are shown."""


def leaves(identity: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below a mapping with its dotted place; an empty mapping is a value."""
    for name, value in identity.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`method.algorithm.layers [17] -> [18]`, a sentence for each value that differs, in the order of `old`.

    Of data and weights, whose digests mean nothing to a reader, it says only that they changed.
    """
    before, after = dict(leaves(old)), dict(leaves(new))
    places = [*before, *(place for place in after if place not in before)]
    return [_sentence(p, before.get(p), after.get(p)) for p in places if before.get(p) != after.get(p)]


def _sentence(place: str, old: Any, new: Any) -> str:
    if place.startswith("data."):
        return f"data changed ({place.removeprefix('data.')})"
    if place.endswith(".weights"):
        return f"weights of {place.split('.')[1]} changed"
    return f"{place} {short(old)} -> {short(new)}"


def short(value: Any) -> str:
    """A value in at most LONGEST characters: texts and numbers as they are, what is longer cut or digested."""
    text = value if isinstance(value, str) else "none" if value is None else canonical(value)
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - 1]}…" if isinstance(value, str) else f"{text[:20]}… ({digest(text.encode())[:8]})"
