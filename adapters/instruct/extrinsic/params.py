"""What a task of the extrinsic track can say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ....components import NOT_IDENTITY, Data, Strict, TaskProtocol
from ....metrics import Metric
from ...bridges.params import General
from ...lm.interventions.tune.params import Adapter, Everything

if TYPE_CHECKING:
    from ....job import Job, Part
    from .micro import World

Count = Annotated[int, Field(ge=1)]


class Lessons(Strict):
    """How a student is taught, whatever the rows: AdamW on the answers' tokens (worlds/chores/student.py)."""

    learning_rate: Annotated[float, Field(gt=0)]
    batch: Count = 16
    """Rows in a step."""
    passes: Annotated[float, Field(gt=0)] = 4.0
    """How often the budget is shown: all students see as much, and one with fewer rows sees each more often."""
    parameters: Annotated[Everything | Adapter, Field(discriminator="type")] = Everything(type="all")
    """What moves: all weights, or a low-rank adapter."""


class ChoresRows(Data):
    """A made-up world of small chores with checkable answers; each seed makes another pool (docs/chores.md)."""

    yields: ClassVar[str] = "chores"
    type: Literal["chores"]
    rows: Annotated[int, Field(ge=1, le=2400)] = 2304
    """Of the pool."""
    spoilt: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the pool that something is wrong with."""
    tests: Annotated[int, Field(ge=1, le=600)] = 384
    """Questions that the student is asked, of which no row tells."""

    def load(self, files: Mapping[str, Path], limit: int | None) -> World:
        """See micro.py."""
        from .micro import World

        return World(self, limit)


class Learning(TaskProtocol):
    """What the two tiers share."""

    roles: ClassVar[Mapping[str, str]] = {"student": "language_model"}
    offers: ClassVar[frozenset[str]] = frozenset({"instruction_rows"})
    accepts: ClassVar[frozenset[str]] = frozenset({"selection"})
    type: str
    rows: Count
    """Budget: rows that a student gets, drawn from those that were kept; all where fewer were."""
    tokens: Count | None = None
    """Budget of the second comparison; tokens of as many average rows of the pool if empty."""
    lessons: Lessons
    forward_batch: Annotated[Count, NOT_IDENTITY] = 256


class LearnedChores(Learning):
    """The micro tier: a small student, and exact answers to new questions."""

    items: ClassVar[str] = "chores"
    type: Literal["learned_chores"]

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import MICRO

        return MICRO

    def run(self, job: Job) -> Iterator[Part]:
        """See micro.py."""
        from .micro import learn

        return learn(self, job)


class FineTuned(Learning):
    """The small and the full tier: any student, and tasks of lm-evaluation-harness before and after."""

    items: ClassVar[str] = "instruction_rows"
    type: Literal["fine_tuned"]
    general: General
    """What the student is asked."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import TUNED

        return TUNED

    def run(self, job: Job) -> Iterator[Part]:
        """See tuned.py."""
        from .tuned import tune

        return tune(self, job)
