"""A validation split that shares no subject with the test split, the same on every machine and for every file.

Published splits overlap by subject (CounterFact's edit and validation files share 128), so methods that were tuned on
one of them have seen the other. Here a subject's place decides, and nothing else: not its file, not its position.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

from ..cases import EditCase

Split = Literal["all", "validation", "test"]
VALIDATION_SHARE = 0.2
"""Share of subjects in the validation split; the others are in the test split."""


def place(*words: str) -> float:
    """A number in [0, 1) that looks random and depends on the words only: 53 bits of their SHA-256."""
    digest = hashlib.sha256("\x1f".join(words).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def ranked(names: Iterable[str], *words: str) -> list[str]:
    """The names in an order that looks random and depends on nothing but the words: a shuffle without a generator."""
    return sorted(names, key=lambda name: place(*words, name))


def normalised(text: str) -> str:
    """Text for comparing: Unicode NFKC, case folded, single spaces, without punctuation at its end.

    >>> normalised(" Who is  Ada\\u00a0LOVELACE ? ")
    'who is ada lovelace'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" ?!.,:;")


def in_validation(subject: str) -> bool:
    """Whether a subject is in the validation split."""
    return place("subject", normalised(subject)) < VALIDATION_SHARE


def of_split(cases: Iterable[EditCase], split: Split) -> Iterator[EditCase]:
    """The cases of a split, in their order."""
    for case in cases:
        if split == "all" or in_validation(case.request.subject) == (split == "validation"):
            yield case
