"""What a task of this family can say of its protocol. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ...components import TaskProtocol
from ...metrics import Metric

if TYPE_CHECKING:
    from ...job import Job, Part


class Grade(TaskProtocol):
    """Class probabilities for each image against its label."""

    items: ClassVar[str] = "graded_image"
    accepts: ClassVar[frozenset[str]] = frozenset({"predictions"})
    version: ClassVar[int] = 2
    type: Literal["grade"]
    classes: Annotated[tuple[str, ...], Field(min_length=2)] = ("Good", "Usable", "Reject")
    """Names of the classes, in the order of their indices, from best to worst."""
    reject: str | None = "Reject"
    """Class that is also scored alone, as a yes-no question; saliency is of this class."""
    by: tuple[str, ...] = ()
    """Attributes for which accuracy and macro F1 are shown apart: group columns; of the embedded world `severity` and
    `degradation`."""
    costs: tuple[tuple[Annotated[float, Field(ge=0)], ...], ...] | None = None
    """What each decision costs, a row for each label; steps between the classes over their greatest number if none."""
    sweep: bool = False
    """Whether the data has eyes that get worse step by step."""
    localisation: Annotated[int, Field(ge=0)] = 0
    """Pictures, the first ones, for which a method's saliency is held against the known quality of each pixel."""

    @model_validator(mode="after")
    def _fits_the_classes(self) -> Grade:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {', '.join(self.classes)}: each needs a name of its own")
        if self.reject is not None and self.reject not in self.classes:
            raise ValueError(f"reject {self.reject!r} is not one of the classes {', '.join(self.classes)}")
        sizes = {len(self.classes)} if self.costs is None else {len(self.costs), *map(len, self.costs)}
        if sizes != {len(self.classes)}:
            raise ValueError(f"costs must be {len(self.classes)} rows of {len(self.classes)} numbers")
        return self

    @property
    def worst(self) -> int:
        """Index of the class that means bad quality."""
        return len(self.classes) - 1 if self.reject is None else self.classes.index(self.reject)

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import grading_metrics

        return grading_metrics(self)

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import grade

        return grade(self, job)


class Rate(TaskProtocol):
    """A score for each image against its rating."""

    items: ClassVar[str] = "rated_image"
    accepts: ClassVar[frozenset[str]] = frozenset({"ratings"})
    type: Literal["rate"]

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import RATING

        return RATING

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import rate

        return rate(job)
