"""What a task about changed circuits can say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ....components import NOT_IDENTITY, TaskProtocol
from ....metrics import Metric
from ..methods.analyzer import Analyzer

if TYPE_CHECKING:
    from ....job import Job, Part


class CircuitChange(TaskProtocol):
    """Edit one fact, and compare the circuits that give its answer before and after (Yao et al. 2024,
    arXiv 2405.17969, section 5.1). The rows are editors; the analyzer is part of the task."""

    roles: ClassVar[Mapping[str, str]] = {"subject": "language_model"}
    items: ClassVar[str] = "edit_case"
    offers: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    accepts: ClassVar[frozenset[str]] = frozenset({"patch"})
    type: Literal["circuit_change"]
    analyzer: Analyzer
    """How circuits are found, before and after alike."""
    size: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of all edges that a circuit is cut to."""
    counterparts: Annotated[int, Field(ge=1)] = 8
    """Corrupt prompts of each fact: the same sentence about other subjects of the task with as many tokens."""
    requests: Annotated[int, Field(ge=1)] | None = None
    """Use only the first so many."""
    forward_batch: Annotated[int, Field(ge=1), NOT_IDENTITY] = 64
    """Rows in one forward pass; its effect is float noise."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
