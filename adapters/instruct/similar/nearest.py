"""Greedy removal of near-duplicates with any index that finds the nearest of the texts that it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from ..rows import Rejected, Row

Coded = TypeVar("Coded")
NEAR = "near-duplicate"


class Near(NamedTuple):
    """The nearest text."""

    value: float
    """How like it is, in [0, 1]."""
    id: str


class Index(Protocol[Coded]):
    """Texts, each a list of words, of which the nearest can be asked."""

    def code(self, words: Sequence[str]) -> Coded:
        """A text in the form that the index works with."""
        ...

    def nearest(self, row: Coded) -> Near | None:
        """The most similar text, the first of them, if it is similar enough."""
        ...

    def add(self, row: Coded, id: str) -> None:
        """Keep a text."""
        ...


def without_near(rows: Iterable[tuple[Row, Sequence[str]]], index: Index[Coded]) -> Iterator[Row | Rejected]:
    """Rows that no kept row before them is near, and the others rejected with their nearest."""
    for row, words in rows:
        coded = index.code(words)
        near = index.nearest(coded)
        if near is None:
            index.add(coded, row.id)
            yield row
        else:
            yield Rejected(row, NEAR, near.value, near.id)


class Recall(NamedTuple):
    """How much an index finds of what another one finds."""

    wanted: int
    """Texts that the exact index finds a neighbour for, among all texts before them."""
    found: int
    """Those of them that the other index finds one for, too."""
    extra: int
    """Texts that only the other index finds a neighbour for."""

    @property
    def value(self) -> float | None:
        """Share that is found; None where there is nothing to find."""
        return self.found / self.wanted if self.wanted else None


def recall(texts: Iterable[Sequence[str]], exact: Index[Coded], other: Index[Coded]) -> Recall:
    """What `other` misses of the neighbours that `exact` finds, in a sample of texts; both indexes are filled."""
    wanted = found = extra = 0
    for number, words in enumerate(texts):
        answers = []
        for index in (exact, other):
            coded = index.code(words)
            answers.append(index.nearest(coded) is not None)
            index.add(coded, str(number))
        wanted += answers[0]
        found += all(answers)
        extra += answers == [False, True]
    return Recall(wanted, found, extra)
