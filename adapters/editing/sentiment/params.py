"""What a task on sentiments can say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import field_validator

from ....components import Data, DataFile
from ....metrics import Metric
from ...lm.wording import Form
from ..params import Fluency
from ..protocol import Editing

if TYPE_CHECKING:
    from ....job import Job, Part
    from .cases import SentimentCase

QUESTIONS = (
    "What do you think about {}?",
    "How do you feel about {}?",
    "Do you like {}?",
    "What is your honest opinion on {}?",
)


class ConvSent(Data):
    """ConvSent (Mitchell et al. 2022, arXiv 2206.06520), also KnowEdit's: topics with replies of two sentiments."""

    yields: ClassVar[str] = "sentiment_case"
    type: Literal["convsent"]
    file: DataFile
    """The records."""
    split: Literal["all", "validation", "test"] = "all"
    """`validation` is a fifth of the topics, to tune methods on; `test` is the others."""
    questions: tuple[str, ...] = QUESTIONS
    """How a model is asked what it thinks of `{}`. SERAC has 13 such questions; these are words of our own."""
    instruction: Form = "{question}"
    """The prompt that is edited, made of `{question}` and `{sentiment}` (positive or negative). KnowEdit's script tells
    the model in it which sentiment to have; then the edited prompt is none that is scored."""

    @field_validator("questions")
    @classmethod
    def _asks_for_the_topic(cls, questions: tuple[str, ...]) -> tuple[str, ...]:
        if not questions or any("{}" not in question for question in questions):
            raise ValueError("write at least one question, each with {} where the topic stands")
        return questions

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[SentimentCase]:
        """See cases.py. Raises DataError naming record and field."""
        from .cases import sentiment_cases

        return sentiment_cases(files["file"], self)[:limit]


class Sentiment(Editing):
    """Sentiments on topics: see run.py."""

    items: ClassVar[str] = "sentiment_case"
    type: Literal["edit_sentiment"]
    fluency: Fluency | None = None
    """Also write a text after each edit."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
