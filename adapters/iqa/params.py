"""What a spec of this family can say. Nothing heavy is imported here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ...components import Data, DataFile, TaskProtocol
from ...metrics import Metric

if TYPE_CHECKING:
    from ...job import Job, Part
    from .data import Grading


class GradedImages(Data):
    """Quality labels from CSV files in EyeQ's format: one row an image, the label a class index."""

    yields: ClassVar[str] = "graded_image"
    type: Literal["graded_images"]
    labels: DataFile
    """Labels of the images to be graded."""
    train: DataFile | None = None
    """Labels of the training images: what priors and majorities are taken from, never the images to be graded."""
    image_column: str = "image"
    label_column: str = "quality"
    group_columns: tuple[str, ...] = ()
    """Columns by which results are also shown apart, `DR_grade` for EyeQ."""
    patient_pattern: str | None = None
    """Regular expression, its first group the patient in an image's name; a patient's images are resampled together."""

    @field_validator("patient_pattern")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        try:
            groups = re.compile(pattern or "()").groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression ({error})") from error
        if groups < 1:
            raise ValueError(f"{pattern!r} has no group; put the patient's part in parentheses")
        return pattern

    def load(self, files: Mapping[str, Path], limit: int | None) -> Grading:
        """Read both files and check that they share no image and no patient. Raises DataError with the line."""
        from .data import load_grading

        return load_grading(self, files, limit)


class Grade(TaskProtocol):
    """Class probabilities for each image against its label."""

    items: ClassVar[str] = "graded_image"
    offers: ClassVar[frozenset[str]] = frozenset({"train_labels"})
    accepts: ClassVar[frozenset[str]] = frozenset({"predictions"})
    type: Literal["grade"]
    classes: Annotated[tuple[str, ...], Field(min_length=2)] = ("Good", "Usable", "Reject")
    """Names of the classes, in the order of their indices, from best to worst."""
    reject: str | None = "Reject"
    """Class that is also scored alone, as a yes-no question."""
    by: str | None = None
    """Group column for which accuracy and macro F1 are shown apart."""

    @model_validator(mode="after")
    def _known_class(self) -> Grade:
        if self.reject is not None and self.reject not in self.classes:
            raise ValueError(f"reject {self.reject!r} is not one of the classes {', '.join(self.classes)}")
        return self

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import grading_metrics

        return grading_metrics(self.classes, self.reject, self.by)

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import grade

        return grade(self, job)
