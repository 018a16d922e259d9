"""Students of equal means: so many rows or tokens from what was kept, and as many at random from the whole pool."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from ...worlds.chores.student import Recipe, drawn, learned, tokens_of
from ..rows import Row

if TYPE_CHECKING:
    from ...lm.model import LanguageModel
    from ...lm.patch import Patch
    from .params import Learning

Unit = Literal["rows", "tokens"]
UNITS: tuple[Unit, ...] = ("rows", "tokens")


class Course:
    """A pool of rows, and students that learn from parts of it."""

    def __init__(self, protocol: Learning, lm: LanguageModel, pool: Sequence[Row], seed: int) -> None:
        self._protocol, self._lm, self._seed = protocol, lm, seed
        self._pairs = {row.id: (row.prompt, row.output) for row in pool}
        costs = tokens_of(lm, list(self._pairs.values()))
        self._tokens = dict(zip(self._pairs, costs, strict=True))
        mean = fmean(costs) if costs else 0.0
        self.budget = {"rows": protocol.rows, "tokens": protocol.tokens or round(protocol.rows * mean)}

    def given(self, ids: Sequence[str], unit: Unit) -> list[str]:
        """Of these rows, as many as the budget allows, drawn alike for all selections that share them."""
        costs = {i: 1 if unit == "rows" else self._tokens[i] for i in ids if self._tokens[i]}
        return drawn(costs, self.budget[unit], self._seed)

    def student(self, ids: Sequence[str], unit: Unit) -> Patch:
        """What the student learns from rows of the pool. Raises DataError where none can be taught."""
        lessons = self._protocol.lessons
        recipe = Recipe(
            shown=round(self.budget[unit] * lessons.passes),
            unit=unit,
            batch=lessons.batch,
            learning_rate=lessons.learning_rate,
            parameters=lessons.parameters,
        )
        return learned(self._lm, [self._pairs[i] for i in self.given(ids, unit)], recipe, self._seed)

    def random(self) -> list[str]:
        """All rows of the pool: a student's budget is drawn from them."""
        return list(self._pairs)
