"""DEITA (Liu et al. 2024, arXiv 2312.15685): rows by complexity and quality, as long as they are unlike each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ..rows import Rejected, Row
from ..stage import Outcome, Workbench
from .diversity import Embedded, Names, Selecting, product, ranked
from .likelihood import ModelScored, Question, Template, filled

if TYPE_CHECKING:
    from ...lm.model import LanguageModel
    from ..embedding import Vectors

GRADES = ("1", "2", "3", "4", "5", "6")


def expected_grade(logprobs: Mapping[str, float] | None) -> float | None:
    """Mean of the grades 1 to 6, each weighted by its share of their probabilities; None where one is missing.

    >>> expected_grade(dict.fromkeys("123456", -9.0))
    3.5
    """
    found = [logprobs.get(grade) for grade in GRADES] if logprobs else [None]
    known = [value for value in found if value is not None and not math.isnan(value)]
    if len(known) < len(GRADES) or max(known) == -math.inf:
        return None
    weights = [math.exp(value - max(known)) for value in known]
    return sum(weight * int(grade) for weight, grade in zip(weights, GRADES, strict=True)) / sum(weights)


class Graded(ModelScored):
    """The grade from 1 to 6 that a model expects at the first position of its answer."""

    type: str
    scores_are: ClassVar[str] = "better"
    prompt: Template

    def values(self, lm: LanguageModel, rows: Sequence[Row]) -> list[float | None]:
        """See `next_logprobs` in ../likelihood.py. Raises ModelError where a grade is more than one token."""
        from ..likelihood import next_logprobs, tokens_of_answers

        # What a row says does not change how a grade behind the prompt's own last words is written.
        empty = filled(self.prompt, Row(id="", instruction=""))
        grades = dict(zip(GRADES, tokens_of_answers(lm, empty, GRADES), strict=True))
        prompts = [filled(self.prompt, row) for row in rows]
        return [expected_grade(found) for found in next_logprobs(lm, prompts, grades, self.batch_size)]


class DeitaComplexity(Graded):
    """How complex the instruction is, from 1 to 6: the expected grade of a model (arXiv 2312.15685).

    Softmax over the log-probabilities of the tokens "1" to "6" at the first position of the answer, times 1 to 6,
    summed. A prompt longer than the model's context has no score.
    """

    type: Literal["deita-complexity"]
    prompt: Question = (
        "Read the request and rate how demanding it is to fulfil, from 1 (a child could) to 6 (an expert would have to "
        "think hard). Reply with one digit.\n\nRequest:\n{prompt}\n\nDemand, 1 to 6:\n"
    )
    """What is asked, ending so that a digit is a token of its own behind it: best with a line break. DEITA's own
    scorers want the prompt that they were trained with."""


class DeitaQuality(Graded):
    """How good the answer is, from 1 to 6: the expected grade of a model (arXiv 2312.15685).

    See `deita-complexity`.
    """

    type: Literal["deita-quality"]
    prompt: Template = (
        "Read the request and the answer to it, and rate the answer, from 1 (useless) to 6 (could not be better). "
        "Reply with one digit.\n\nRequest:\n{prompt}\n\nAnswer:\n{output}\n\nRating, 1 to 6:\n"
    )
    """What is asked, ending so that a digit is a token of its own behind it: best with a line break. DEITA's own
    scorers want the prompt that they were trained with."""


class Deita(Embedded, Selecting):
    """Best rows first, each skipped that is too like one taken before it (arXiv 2312.15685).

    Rows are sorted by the product of scores, rows without one last; a row is skipped when its cosine to a row taken is
    above the threshold; it stops at `n` rows. What is kept stays in the order of the file.
    """

    type: Literal["deita"]
    by: Names = ("deita-complexity", "deita-quality")
    """Names of earlier stages."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.9
    of: Literal["prompt", "output", "both"] = "both"
    """Which text of a row: instruction with input, the answer, or both; with what a conversation said earlier."""

    def choose(self, rows: Sequence[Row], vectors: Vectors, bench: Workbench) -> list[Outcome]:
        """See `apart` in ../coverage.py. Raises UsageError for a score that no earlier stage gave."""
        from ..coverage import apart

        values = [product(row, self.by) for row in rows]
        kept, near = apart(vectors, ranked(values), self.threshold, self.wanted(len(rows)))
        inside = set(kept)
        found: list[Outcome] = []
        for i, row in enumerate(rows):
            to, like = near[i].to, near[i].value
            if i in inside:
                found.append(row)
            elif to is not None and like is not None and like > self.threshold:
                found.append(Rejected(row, "too like a kept row", like, rows[to].id))
            else:
                found.append(Rejected(row, "after the last that is kept", values[i]))
        return found
