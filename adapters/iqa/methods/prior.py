"""Controls that look at no image: what the class frequencies of the training labels alone are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ....components import Algorithm

if TYPE_CHECKING:
    import numpy as np

    from ....job import Job
    from ..data import Grading


class Prior(Algorithm):
    """`majority` always answers the commonest class, `sampling` draws a class for each image from the frequencies.

    `majority` states the frequencies as its probabilities, `sampling` the drawn class as certain.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"train_labels"})
    yields: ClassVar[str] = "predictions"
    type: Literal["prior"]
    answer: Literal["majority", "sampling"]

    def predict(self, grading: Grading, classes: tuple[str, ...], job: Job) -> dict[str, np.ndarray]:
        """Raises DataError when the task has no training labels."""
        import numpy as np

        from ....errors import DataError

        if grading.train is None:
            raise DataError("this control needs training labels: name them in the task's data (`train: FILE`)")
        prior = np.bincount(grading.train.labels, minlength=len(classes)) / len(grading.train)
        if self.answer == "majority":
            return dict.fromkeys(grading.test.names, prior)
        identity = np.eye(len(classes))
        return {name: identity[job.rng("prior", name).choice(len(classes), p=prior)] for name in grading.test.names}
