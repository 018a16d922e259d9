"""A validation split that shares no subject with the test split, the same on every machine and for every file.

Published splits overlap by subject (CounterFact's edit and validation files share 128), so methods that were tuned on
one of them have seen the other. Here a subject's place decides, and nothing else: not its file, not its position.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal

from ....canonical import place
from ..cases import EditCase

Split = Literal["all", "validation", "test"]
VALIDATION_SHARE = 0.2
"""Share of subjects in the validation split; the others are in the test split."""


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
