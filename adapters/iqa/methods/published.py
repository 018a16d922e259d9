"""Published per-image predictions as a competitor: a real method on real labels, without its code or images."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ....components import Algorithm, DataFile

if TYPE_CHECKING:
    from ....job import Job
    from ..items import Answers, Grading


class Predictions(Algorithm):
    """Class probabilities from a CSV file with a column for each class."""

    yields: ClassVar[str] = "predictions"
    type: Literal["predictions"]
    file: DataFile
    """The predictions, a row an image."""
    image_column: str = "image"

    def answers(self, grading: Grading, classes: tuple[str, ...], job: Job) -> Answers:
        """As published, not normalised."""
        from ..items import Answers
        from ..labels import by_stem, read_predictions

        read = read_predictions(job.files["algorithm"]["file"], self.image_column, classes)
        return Answers(by_stem(read.values, grading.test.names), read.problems)
