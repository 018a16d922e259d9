"""A pool of rows of which some are spoilt, which ones is known, and test questions that no pool row has."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from ....errors import UsageError
from .faults import Phrasing, habits, planted
from .language import VERBS, Chore


@dataclass(frozen=True)
class Chores:
    """Rows to select from, the truth about them, and what a student is asked afterwards."""

    pool: tuple[Chore, ...]
    defects: Mapping[str, str]
    """Row id to one of `faults.DEFECTS`; a clean row is not in it."""
    careless: frozenset[Phrasing]
    """Phrasings whose rows have most of the faults."""
    tests: tuple[Chore, ...]
    """As many of every verb and phrasing, with the right answers; a verb has no input of its pool rows here."""

    def oracle(self) -> tuple[Chore, ...]:
        """The rows that nothing is the matter with: what a perfect selection keeps."""
        return tuple(row for row in self.pool if row.id not in self.defects)

    def spoilt(self) -> tuple[Chore, ...]:
        """The others."""
        return tuple(row for row in self.pool if row.id in self.defects)


def chores(seed: int, rows: int = 2304, tests: int = 384, share: float = 0.3) -> Chores:
    """A pool of `rows` rows, a `share` of them spoilt, and `tests` test questions. Raises UsageError for sizes
    that cannot be: inputs are drawn without repeating, and the numbers run out first."""
    if not 0 <= share < 1 or not 0 < rows <= 2400 or not 0 < tests <= 600:
        raise UsageError(
            f"chores of {rows} rows ({share} spoilt) and {tests} tests cannot be made; "
            "at most 2400 rows and 600 tests, a share of at least 0 and below 1"
        )
    rng = random.Random(seed)
    questions = _right("test", tests, set(), rng)
    pool = _right("row", rows, {(row.verb, row.input) for row in questions}, rng)
    careless = habits(rng)
    spoilt, defects = planted(pool, int(share * rows), careless, rng)
    return Chores(tuple(spoilt), defects, frozenset(careless), tuple(questions))


def _right(name: str, count: int, used: set[tuple[str, str]], rng: random.Random) -> list[Chore]:
    """Rows with right answers: verbs take turns, and the phrasings of each; no input of a verb that is `used`."""
    found: list[Chore] = []
    for i in range(count):
        verb = list(VERBS)[i % len(VERBS)]
        its = VERBS[verb]
        given = its.draw(rng)
        while (verb, given) in used:
            given = its.draw(rng)
        used.add((verb, given))
        number = i // len(VERBS) % len(its.phrasings)
        found.append(Chore(f"{name}-{i:05d}", verb, number, its.phrasings[number], given, its.answer(given)))
    return found
