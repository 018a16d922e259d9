"""Stages that score the Python code of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from ..rows import Row
from ..stage import Outcome, Workbench
from .lexical import Bounded

if TYPE_CHECKING:
    from ..code import Complexity


class CodeScored(Bounded):
    """Scores rows by the complexity of their code, relative to the other rows that come to the stage. Holds all."""

    type: str
    epsilon: ClassVar[float] = 0.0
    """Added to variances."""

    def complexity(self, row: Row) -> Complexity | None:
        """Of one row; None where there is no code to score."""
        raise NotImplementedError

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See `Stage.run`."""
        from ..code import cirs

        held = [(row, self.complexity(row)) for row in rows]
        scores = iter(cirs([found for _, found in held if found], self.epsilon).score.tolist())
        for row, found in held:
            yield self.judged(row, next(scores) if found else None, bench)


class Cirs(CodeScored):
    """Complexity-impacted reasoning score of the output's Python code (Bi et al. 2023, arXiv 2308.15452; see code.py);
    null without code that can be parsed."""

    type: Literal["cirs"]

    def complexity(self, row: Row) -> Complexity | None:
        """Of one row."""
        from ..code import complexity

        return complexity(row.output)


class CirsEasyinstruct(CodeScored):
    """The same as EasyInstruct's `CodeSelector` counts it (see code.py), which writes three files and selects nothing.

    Kept is what it calls medium, 0.125 to 0.5; rows that it skips are turned away.
    """

    type: Literal["cirs-easyinstruct"]
    epsilon: ClassVar[float] = 1e-8
    minimum: float | None = 0.125
    maximum: float | None = 0.5
    undefined: Literal["keep", "reject"] = "reject"

    def complexity(self, row: Row) -> Complexity | None:
        """Of one row."""
        from ..code import complexity_easyinstruct

        return complexity_easyinstruct(row.output)
