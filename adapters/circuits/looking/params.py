"""What a task that looks inside can say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ....components import NOT_IDENTITY, TaskProtocol
from ....metrics import Metric

if TYPE_CHECKING:
    from ....job import Job, Part

Count = Annotated[int, Field(ge=1)]


class LookInside(TaskProtocol):
    """Ask, and see where in the model the answer comes from. Questions need a subject that stands in their prompt."""

    roles: ClassVar[Mapping[str, str]] = {"subject": "language_model"}
    items: ClassVar[str] = "question"
    offers: ClassVar[frozenset[str]] = frozenset({"prompt_pairs"})
    accepts: ClassVar[frozenset[str]] = frozenset({"look"})
    type: Literal["look_inside"]
    answers: Literal["first_differing", "single"] = "first_differing"
    """Of answers with several tokens: the first token in which right and wrong differ, or none such is asked."""
    forward_batch: Annotated[Count, NOT_IDENTITY] = 64
    """Rows in one forward pass; its effect is float noise."""
    chunk: Annotated[Count, NOT_IDENTITY] = 32
    """Questions that are looked at and committed together; a kill costs at most so many."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
