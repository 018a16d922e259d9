"""Methods that learn from a task's training images: what they share.

What was learned is an artifact: made once for the same pictures, labels, spec and seed, whoever asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...artifacts import ArtifactStore
from ...components import Algorithm
from ...errors import DataError
from ...loading.resolve import identity
from .items import Answers, Grading, Images
from .params import Grade
from .pictures import Sized, sized
from .seeing import Place, keys, parts, see

if TYPE_CHECKING:
    from ...job import Job

Arrays = Mapping[str, np.ndarray]
SHOWN = 3
"""Images, the first ones, of which the report shows what a method makes of them."""
_COST, _LEFT_OUT = "cost.", "left_out"


@dataclass(frozen=True)
class Lesson:
    """What is learned from: training and validation images, one after the other."""

    seen: np.ndarray
    """What `Learner.see` gives, a row each."""
    labels: np.ndarray
    validation: np.ndarray
    """Shape (n,), bool: the images of early stopping."""
    classes: int
    """0 for scores."""


class Learner(Algorithm):
    """Subclasses say what they see in a picture, how they learn from that, and what they answer."""

    consumes: ClassVar[frozenset[str]] = frozenset({"images", "train_images", "train_labels"})
    rates: ClassVar[bool] = False
    """Whether it gives scores, not classes."""

    @property
    def input_size(self) -> int:
        """Side of the pictures that it looks at."""
        raise NotImplementedError

    def see(self, pictures: Sized, place: Place) -> np.ndarray:
        """What it looks at, a row for each picture, each independent of the others."""
        raise NotImplementedError

    def sight(self, place: Place) -> dict[str, Any] | None:
        """What `see` depends on beside the pictures, where its rows are worth keeping."""
        return None

    def learn(self, lesson: Lesson, place: Place) -> dict[str, np.ndarray]:
        """What it needs to answer, as plain arrays; the same bytes for the same lesson and seed."""
        raise NotImplementedError

    def outputs(self, learned: Arrays, seen: np.ndarray, classes: int, place: Place) -> np.ndarray:
        """Shape (n, classes): probabilities; (n, 1): scores."""
        raise NotImplementedError

    def saliency(self, learned: Arrays, seen: np.ndarray, classes: int, of: int, place: Place) -> np.ndarray | None:
        """Evidence for a class at each pixel, shape (n, size, size), where the method has such a thing."""
        return None

    def described(self, pictures: Sized, classes: int, place: Place) -> tuple[dict[str, float], dict[str, Any]]:
        """Costs of its own (`parameters`, `macs` …), and exhibits."""
        return {}, {}

    def answers(self, grading: Grading, classes: tuple[str, ...], job: Job) -> Answers:
        """Learn, or remember; then answer for every image that can be read. Raises DataError."""
        k = 0 if self.rates else len(classes)
        place = Place(job.device, job.threads, job.seed, job.files.get("algorithm", {}), job.progress)
        learned, cost, problems = learn(self, grading, k, place, job.artifacts)
        begun = time.perf_counter()
        found, left_out = answered(self, learned, grading.test, k, place, job.artifacts)
        cost["images_per_s"] = round(len(grading.test) / (time.perf_counter() - begun), 1)
        swept, _ = answered(self, learned, grading.sweep, k, place, job.artifacts)
        first = sized(grading.test.some(range(min(SHOWN, len(grading.test)))), self.input_size, job.artifacts)
        own_cost, exhibits = self.described(first.only(first.usable), k, place)
        maps = self._maps(learned, grading.test, job, place)
        return Answers({**found, **swept}, (*problems, *left_out), maps, {**cost, **own_cost}, exhibits)

    def _maps(self, learned: Arrays, images: Images, job: Job, place: Place) -> dict[str, np.ndarray]:
        """Saliency of bad quality, by name, for as many images as the task asks for."""
        protocol = job.task.protocol
        if not isinstance(protocol, Grade) or not protocol.localisation:
            return {}
        first = images.some(range(min(protocol.localisation, len(images))))
        seen = see(self, first, place, job.artifacts)
        maps = self.saliency(learned, seen.rows, len(protocol.classes), protocol.worst, place)
        return {} if maps is None else {first.names[i]: m for i, m in zip(seen.places, maps, strict=True)}


def answered(
    learner: Learner, learned: Arrays, images: Images, classes: int, place: Place, artifacts: ArtifactStore
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Answers by name, and a sentence for each image whose picture cannot be read."""
    found: dict[str, np.ndarray] = {}
    problems: list[str] = []
    for part in parts(images):
        seen = see(learner, part, place, artifacts)
        problems += [f"{reason}; left out" for reason in seen.problems]
        if len(seen.places):
            outputs = learner.outputs(learned, seen.rows, classes, place)
            found |= {part.names[i]: p for i, p in zip(seen.places, outputs, strict=True)}
    return found, problems


def learn(
    learner: Learner, grading: Grading, classes: int, place: Place, artifacts: ArtifactStore
) -> tuple[dict[str, np.ndarray], dict[str, float], list[str]]:
    """What `learner` learned from a task, what that cost when it was done, and what was left out. Raises DataError."""
    train, validation = grading.train, grading.validation
    assert train is not None
    splits = (train, validation)
    key = {
        "algorithm": identity(learner),
        "pictures": [keys(images) for images in splits],
        "labels": [images.labels.tolist() for images in splits],
        "classes": classes,
        "seed": place.seed,
        **place.key(),
    }

    def make() -> dict[str, np.ndarray]:
        cpu, wall = time.process_time(), time.perf_counter()
        lesson, problems = _lesson(learner, train, validation, classes, place, artifacts)
        made = learner.learn(lesson, replace(place, scratch=artifacts.scratch("learned", key)))
        spent = {"train_cpu_s": time.process_time() - cpu, "train_wall_s": time.perf_counter() - wall}
        costs = {f"{_COST}{name}": np.array(value) for name, value in spent.items()}
        return {**made, **costs, _LEFT_OUT: np.array(problems, dtype=np.str_)}

    stored = dict(artifacts.get("learned", key, make))
    problems = [f"{reason}; not learned from" for reason in stored.pop(_LEFT_OUT).tolist()]
    cost = {n.removeprefix(_COST): round(float(stored.pop(n)), 4) for n in list(stored) if n.startswith(_COST)}
    return stored, cost, problems


def _lesson(
    learner: Learner, train: Images, validation: Images, classes: int, place: Place, artifacts: ArtifactStore
) -> tuple[Lesson, list[str]]:
    """What is seen of the images that can be read, and a sentence for each that cannot. Raises DataError."""
    pieces = [
        (part, see(learner, part, place, artifacts), images is validation)
        for images in (train, validation)
        for part in parts(images)
    ]
    problems = [problem for _, seen, _ in pieces for problem in seen.problems]
    if not any(len(seen.places) for _, seen, late in pieces if not late):
        raise DataError("no training image can be used" + "".join(f"\n{p}" for p in problems[:3]))
    usable = [(part, seen, late) for part, seen, late in pieces if len(seen.places)]
    lesson = Lesson(
        np.concatenate([seen.rows for _, seen, _ in usable]),
        np.concatenate([part.labels[seen.places] for part, seen, _ in usable]),
        np.concatenate([np.full(len(seen.places), late) for _, seen, late in usable]),
        classes,
    )
    return lesson, problems
