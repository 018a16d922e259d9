"""Controls that look at no image: what the class frequencies of the training labels alone are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ....components import Algorithm

if TYPE_CHECKING:
    from ....job import Job
    from ..items import Answers, Grading


class Prior(Algorithm):
    """`majority` always answers the commonest class, `sampling` draws a class for each image from the frequencies.

    `majority` states the frequencies as its probabilities, `sampling` the drawn class as certain.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"train_labels"})
    yields: ClassVar[str] = "predictions"
    type: Literal["prior"]
    answer: Literal["majority", "sampling"]

    def answers(self, grading: Grading, classes: tuple[str, ...], job: Job) -> Answers:
        """The same for every image, or one draw for each."""
        import numpy as np

        from ..items import Answers

        assert grading.train is not None
        prior = np.bincount(grading.train.labels, minlength=len(classes)) / len(grading.train)
        names = (*grading.test.names, *grading.sweep.names)
        if self.answer == "majority":
            return Answers(dict.fromkeys(names, prior))
        identity = np.eye(len(classes))
        return Answers({name: identity[job.rng("prior", name).choice(len(classes), p=prior)] for name in names})
