"""Stages in which a model judges rows in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..rows import Rejected, Row
from ..stage import Outcome, Stage, Workbench

if TYPE_CHECKING:
    from ...chat.requests import Reply
from .likelihood import Template, filled

_EASYINSTRUCT = re.compile(r"[Ss]core:\s*(\d+)")


class LlmScore(Stage):
    """The score that a model gives a row's answer, its reasons first; rows below the threshold are turned away.

    The default criteria are the five degrees of Humpback (Li et al. 2023, arXiv 2308.06259, section 2.3) in our own
    words. `Score: 4`, `**Score:** [4]`, `Rating: 4/5`, `{"score": 4}` and `4` alone are read; the last one counts; what
    lies outside the scale is no score. Without a score the model is asked once more for it alone, and then the row is
    turned away as `unparsable reply`.
    """

    type: Literal["llm_score"]
    scores_are: ClassVar[str] = "better"
    model: str = "judge"
    """Role of the judge."""
    criteria: Annotated[str, Field(min_length=1)] | None = None
    """What the numbers of the scale mean; the five degrees if empty."""
    scale: tuple[int, int] = (1, 5)
    """Lowest and highest score."""
    threshold: float | None = 4
    """Least score that is kept; all are kept if null."""
    max_tokens: Annotated[int, Field(ge=1)] = 512
    """Of a reply; the score stands at its end."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        low, high = self.scale
        if not 0 <= low < high:
            raise ValueError(f"scale: expected the lowest score, from 0, and then a higher one, got {low} and {high}")
        if self.scale != (1, 5) and self.criteria is None:
            raise ValueError("the default criteria have a scale from 1 to 5; write `criteria` for another scale")
        if self.threshold is not None and not low <= self.threshold <= high:
            raise ValueError(f"threshold: {self.threshold:g} is not on the scale from {low} to {high}")
        return self

    def roles(self) -> dict[str, str]:
        """The judge."""
        return {self.model: "chat_model"}

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """In chunks of 64 rows. Raises ModelError."""
        from ..generating.asked import chunks, unanswered
        from ..generating.judging import score_rows
        from ..prompts.loading import shipped

        template = shipped("score").with_({} if self.criteria is None else {"criteria": self.criteria}, ())
        for chunk in chunks(rows):
            judged = score_rows(bench.asking[self.model], template, chunk, self.scale, self.max_tokens)
            for row, reply, score in judged:
                scored = row.scored(**{bench.name: score})
                if score is None:
                    yield unanswered(row, reply)
                elif self.threshold is not None and score < self.threshold:
                    yield Rejected(scored, "low score", score)
                else:
                    yield scored
            bench.progress(len(chunk))


class LlmScoreEasyInstruct(Stage):
    r"""A judge's score as EasyInstruct reads it (GPTScoreSelector, commit 3291a68): the first `[Ss]core:\s*(\d+)`.

    There is no bound (`Score: 45` is 45) and no second request, and `Score: [5]`, `**Score:** 5`, `SCORE: 5` and
    `Rating: 5` are no scores. Unlike there, a row without a score is turned away with a reason, and not lost.
    """

    type: Literal["llm_score-easyinstruct"]
    scores_are: ClassVar[str] = "better"
    model: str = "judge"
    """Role of the judge."""
    prompt: Template
    """What is asked, with `{instruction}`, `{input}`, `{prompt}` (both) and `{output}`."""
    threshold: int | None = 4
    """Least score that is kept; if null all rows are, and one without a score has null."""
    max_tokens: Annotated[int, Field(ge=1)] = 150

    def roles(self) -> dict[str, str]:
        """The judge."""
        return {self.model: "chat_model"}

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """In chunks of 64 rows. Raises ModelError."""
        from ...chat.requests import Request
        from ..generating.asked import chunks

        for chunk in chunks(rows):
            requests = [
                Request((("user", filled(self.prompt, row)),), self.max_tokens, purpose="score") for row in chunk
            ]
            for row, reply in zip(chunk, bench.asking[self.model].ask(requests), strict=True):
                yield self._decided(row, reply, bench.name)
            bench.progress(len(chunk))

    def _decided(self, row: Row, reply: Reply, name: str) -> Outcome:
        from ..generating.asked import UNPARSABLE, unanswered

        match = _EASYINSTRUCT.search(reply.text)
        if reply.error:
            return unanswered(row, reply)
        score = None if match is None else float(int(match[1]))
        scored = row.scored(**{name: score})
        if self.threshold is None:
            return scored
        if score is None:
            return Rejected(row, UNPARSABLE)
        return scored if score >= self.threshold else Rejected(scored, "low score", score)
