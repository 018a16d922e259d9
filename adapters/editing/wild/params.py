"""What a task of editing in the wild can say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import field_validator

from ....components import Strict
from ....metrics import Metric
from ...lm.wording import Form
from ..protocol import Count, Editing
from ..sources.params import EditFile

if TYPE_CHECKING:
    from ....job import Job, Part
    from ..cases import EditCase


class QAEdit(EditFile):
    """QAEdit (Yang et al. 2025, arXiv 2502.11177): questions of Natural Questions, TriviaQA and SimpleQA."""

    type: Literal["qaedit"]

    def cases(self, file: Path) -> Iterator[EditCase]:
        """See qaedit.py."""
        from .qaedit import qaedit_cases

        return qaedit_cases(file)


class Written(Editing):
    """What the tracks in the wild share.

    Yang et al. 2025 (arXiv 2502.11177, WILD): nothing of the right answer is given away, neither its beginning nor its
    length. Their released code writes at most 50 tokens, EasyEdit's version 512.
    """

    items: ClassVar[str] = "edit_case"
    type: str
    prompt: Form = "{question}"
    """What is asked; `{question}` is the case's prompt. WILD asks the question alone by default, and has variants with
    an instruction before it and with a chat template."""
    chat: Literal["auto", "none"] = "auto"
    """`auto`: as a user's turn of the tokenizer's chat template, where it has one; `none`: as the model's spec says."""
    tokens: Count = 512
    """Longest answer."""
    until: tuple[str, ...] = (".", "\n")
    """An answer ends at the first of these, as in WILD's code, or at the end of the text. `[]`: at that alone."""

    @field_validator("until")
    @classmethod
    def _marks(cls, until: tuple[str, ...]) -> tuple[str, ...]:
        if "" in until:
            raise ValueError("an empty mark would end every answer; leave it out")
        return until

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS


class Exact(Strict):
    """An answer is right if it is, word for word, one of the accepted answers, or has one in it."""

    type: Literal["exact"] = "exact"
    match: Literal["equal", "contains"] = "equal"
    """`equal` is what WILD's code does without a judge (SQuAD's exact match, arXiv 1606.05250); `contains` forgives
    what stands around the answer, and is fooled by an answer that names many things."""


class Wild(Written):
    """Answers in the wild, compared with the accepted ones."""

    type: Literal["wild"]
    judge: Exact = Exact()

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .judging import Same
        from .run import run

        return run(self, job, Same(self.judge))


class JudgedWild(Written):
    """Answers in the wild, each judged by a model (WILD's LLM as a judge; the wording of the question is ours)."""

    roles: ClassVar[Mapping[str, str]] = {**Editing.roles, "judge": "chat_model"}
    type: Literal["wild_judged"]

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .judging import Asked
        from .run import run

        return run(self, job, Asked.of(job))
