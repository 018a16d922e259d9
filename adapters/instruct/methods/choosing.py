"""Stages that keep a number of rows without judging them: what every selection has to be better than."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from ..rows import Rejected, Row
from ..stage import Outcome, Stage, Workbench
from ..texts import Part, part, unicode_words
from .diversity import Selecting

Count = Annotated[int, Field(ge=1)]


class Random(Selecting):
    """Keeps rows drawn at random: those with the lowest of numbers that are drawn for each row from seed and id.

    Whether a row is kept does not depend on the order of the rows, and a smaller choice is part of a larger one. Kept
    rows stay in their order; `n` rows are held, or all where a `share` is asked for.
    """

    type: Literal["random"]

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        return highest(self, rows, lambda row: -float(bench.rng(row.id).random()), "not drawn")


class RandomEasyinstruct(Stage):
    """EasyInstruct's `RandomSelector`, when nothing else draws between its construction and its use: Python's
    `random.sample`, seeded. Holds all rows, and yields the kept ones in the order in which they were drawn.
    """

    type: Literal["random-easyinstruct"]
    n: Count = 100
    """How many are kept, or all where there are fewer."""
    seed: int = 42

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        import random

        held = list(rows)
        places = range(len(held))
        drawn = list(places) if len(held) < self.n else random.Random(self.seed).sample(places, self.n)
        yield from (held[i] for i in drawn)
        yield from (Rejected(held[i], "not drawn") for i in sorted(set(places).difference(drawn)))


class Longest(Selecting):
    """Keeps the rows with the longest texts, of equal ones the earlier: by output, a baseline that beat selections by
    judges (Zhao et al. 2024, "Long Is More for Alignment", arXiv 2402.04833).

    Kept rows stay in their order; `n` rows are held, or all where a `share` is asked for.
    """

    type: Literal["longest"]
    field: Part = "output"
    """Whose length counts; `prompt` is instruction and input."""
    unit: Literal["words", "characters"] = "words"
    """Words of any script (texts.py)."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""

        def length(row: Row) -> float:
            text = part(row, self.field)
            return float(len(unicode_words(text) if self.unit == "words" else text))

        return highest(self, rows, length, "not among the longest")


def highest(stage: Selecting, rows: Iterator[Row], value: Callable[[Row], float], reason: str) -> Iterator[Outcome]:
    """The rows with the highest values, as many as the stage keeps, of equal ones the earlier, in their order; the
    others rejected at once."""
    from heapq import heappush, heappushpop

    every = list(rows) if stage.n is None else ()
    n = stage.wanted(len(every))
    held: list[tuple[float, int, Row]] = []
    for number, row in enumerate(every or rows):
        entry = (value(row), -number, row)
        if len(held) < n:
            heappush(held, entry)
        else:
            least = heappushpop(held, entry)
            yield Rejected(least[2], reason, least[0])
    yield from (row for _, _, row in sorted(held, key=lambda entry: -entry[1]))
