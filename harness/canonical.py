"""One way to write JSON, to digest it, and to put names in an order that looks random: the same bytes everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN. Floats are written as `repr` writes them (shortest exact form)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any, size: int = 16) -> str:
    """Hex digest (2 × `size` characters) of a JSON value, or of bytes as they are."""
    data = value if isinstance(value, bytes) else canonical(value).encode()
    return hashlib.blake2b(data, digest_size=size).hexdigest()


def place(*words: str) -> float:
    """A number in [0, 1) that looks random and depends on the words only: 53 bits of their SHA-256."""
    digest = hashlib.sha256("\x1f".join(words).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def ranked(names: Iterable[str], *words: str) -> list[str]:
    """The names in an order that looks random and depends on nothing but the words: a shuffle without a generator."""
    return sorted(names, key=lambda name: place(*words, name))
