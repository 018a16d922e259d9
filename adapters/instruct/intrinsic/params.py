"""What a task of the intrinsic track can say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ....components import TaskProtocol
from ....metrics import Metric

if TYPE_CHECKING:
    from ....job import Job, Part

Count = Annotated[int, Field(ge=1)]


class IntrinsicQualities(TaskProtocol):
    """What a pipeline's rows are like: valid, varied, long, clean of evaluation items. None of it is quality by itself:
    read each number beside that of as many random rows and of as many of the longest."""

    items: ClassVar[str] = "instruction_rows"
    offers: ClassVar[frozenset[str]] = frozenset({"instruction_rows"})
    accepts: ClassVar[frozenset[str]] = frozenset({"selection", "generation"})
    type: Literal["intrinsic_qualities"]
    alike: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """ROUGE-L above which an instruction counts as a near duplicate of another one."""
    overlap: Count = 13
    """So many words in a row, shared with an item of the evaluation set, count as contamination (Brown et al. 2020,
    arXiv 2005.14165, appendix C)."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import look

        return look(self, job)


class LikelihoodQualities(IntrinsicQualities):
    """The same, with how probable the answers are to a language model."""

    roles: ClassVar = {"scorer": "language_model"}
    type: Literal["likelihood_qualities"]  # type: ignore[assignment]

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import LIKELIHOOD, METRICS

        return METRICS + LIKELIHOOD
