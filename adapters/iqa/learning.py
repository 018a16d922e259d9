"""Methods that learn from a task's training images: what they share.

What was learned is an artifact: made once for the same pictures, labels, spec and seed, whoever asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...artifacts import ArtifactStore
from ...canonical import digest
from ...components import Algorithm
from ...errors import DataError
from ...loading.resolve import identity
from ...provenance import package_version
from .items import Answers, Grading, Images
from .params import Grade
from .pictures import Sized, sized

if TYPE_CHECKING:
    from pathlib import Path

    from ...job import Job

Arrays = Mapping[str, np.ndarray]
LIBRARIES = ("torch", "timm", "scikit-learn", "opencv-python-headless")
SHOWN = 3
"""Images, the first ones, of which the report shows what a method makes of them."""
_COST = "cost."


@dataclass(frozen=True)
class Lesson:
    """What is learned from: training and validation images, one after the other."""

    rgb: np.ndarray
    fov: np.ndarray
    labels: np.ndarray
    validation: np.ndarray
    """Shape (n,), bool: the images of early stopping."""
    classes: int
    """0 for scores."""

    @cached_property
    def digest(self) -> str:
        """Of every pixel and label."""
        arrays = (self.rgb, self.fov, self.labels, self.validation)
        return digest([self.classes, *(digest(np.ascontiguousarray(a).tobytes()) for a in arrays)])


@dataclass(frozen=True)
class Place:
    """Where and how to compute."""

    device: str = "cpu"
    threads: int = 1
    seed: int = 0
    files: Mapping[str, Path] = field(default_factory=dict)
    """Files that the method's spec names, by field."""
    progress: Any = lambda done, total: None
    scratch: Path | None = None
    """Folder for what lets learning go on after a kill."""


class Learner(Algorithm):
    """Subclasses say how they learn from arrays, and what they answer."""

    consumes: ClassVar[frozenset[str]] = frozenset({"images", "train_images", "train_labels"})
    rates: ClassVar[bool] = False
    """Whether it gives scores, not classes."""

    @property
    def input_size(self) -> int:
        """Side of the pictures that it looks at."""
        raise NotImplementedError

    def learn(self, lesson: Lesson, place: Place) -> dict[str, np.ndarray]:
        """What it needs to answer, as plain arrays; the same bytes for the same lesson and seed."""
        raise NotImplementedError

    def outputs(self, learned: Arrays, pictures: Sized, classes: int, place: Place) -> np.ndarray:
        """Shape (n, classes): probabilities; (n, 1): scores."""
        raise NotImplementedError

    def saliency(
        self, learned: Arrays, pictures: Sized, classes: int, of_class: int, place: Place
    ) -> np.ndarray | None:
        """Evidence for a class at each pixel, shape (n, size, size), where the method has such a thing."""
        return None

    def described(
        self, learned: Arrays, pictures: Sized, classes: int, place: Place
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Costs of its own (`parameters`, `macs` …), and exhibits."""
        return {}, {}

    def answers(self, grading: Grading, classes: tuple[str, ...], job: Job) -> Answers:
        """Learn, or remember; then answer for every image that can be read. Raises DataError."""
        k = 0 if self.rates else len(classes)
        place = Place(job.device, job.threads, job.seed, job.files.get("algorithm", {}), job.progress)
        learned, cost, problems = learn(self, grading, k, place, job.artifacts)
        found: dict[str, np.ndarray] = {}
        for images in (grading.test, grading.sweep):
            if images:
                pictures = sized(images, self.input_size, job.artifacts, job.progress)
                problems += [f"{reason}; left out" for reason in pictures.unusable.values()]
                outputs = self.outputs(learned, pictures.only(pictures.usable), k, place)
                found |= {images.names[i]: p for i, p in zip(pictures.usable, outputs, strict=True)}
        first = grading.test.some(range(min(SHOWN, len(grading.test))))
        own_cost, exhibits = self.described(learned, self._usable(first, job), k, place)
        maps = self._maps(learned, grading.test, job, place)
        return Answers(found, tuple(problems), maps, {**cost, **own_cost}, exhibits)

    def _usable(self, images: Images, job: Job) -> Sized:
        pictures = sized(images, self.input_size, job.artifacts, job.progress)
        return pictures.only(pictures.usable)

    def _maps(self, learned: Arrays, images: Images, job: Job, place: Place) -> dict[str, np.ndarray]:
        """Saliency of bad quality, by name, for as many images as the task asks for."""
        protocol = job.task.protocol
        if not isinstance(protocol, Grade) or not protocol.localisation:
            return {}
        images = images.some(range(min(protocol.localisation, len(images))))
        pictures = sized(images, self.input_size, job.artifacts, job.progress)
        seen = pictures.only(pictures.usable)
        maps = self.saliency(learned, seen, len(protocol.classes), protocol.worst, place)
        return {} if maps is None else {images.names[i]: m for i, m in zip(pictures.usable, maps, strict=True)}


def learn(
    learner: Learner, grading: Grading, classes: int, place: Place, artifacts: ArtifactStore
) -> tuple[dict[str, np.ndarray], dict[str, float], list[str]]:
    """What `learner` learned from a task, what that cost when it was done, and what was left out. Raises DataError."""
    lesson, problems = lesson_of(grading, classes, learner.input_size, artifacts, place.progress)
    key = {
        "algorithm": identity(learner),
        "lesson": lesson.digest,
        "files": {name: digest(file.read_bytes()) for name, file in place.files.items()},
        "seed": place.seed,
        "device": place.device.partition(":")[0],
        "threads": place.threads,
        "libraries": [package_version(name) for name in LIBRARIES],
    }

    def make() -> dict[str, np.ndarray]:
        cpu, wall = time.process_time(), time.perf_counter()
        made = learner.learn(lesson, replace(place, scratch=artifacts.scratch("learned", key)))
        spent = {"train_cpu_s": time.process_time() - cpu, "train_wall_s": time.perf_counter() - wall}
        return {**made, **{f"{_COST}{name}": np.array(value) for name, value in spent.items()}}

    stored = artifacts.get("learned", key, make)
    cost = {n.removeprefix(_COST): round(float(v), 4) for n, v in stored.items() if n.startswith(_COST)}
    return {n: v for n, v in stored.items() if not n.startswith(_COST)}, cost, problems


def lesson_of(
    grading: Grading, classes: int, size: int, artifacts: ArtifactStore, progress: Any
) -> tuple[Lesson, list[str]]:
    """The training and validation images that can be read, and a sentence for each that cannot. Raises DataError."""
    assert grading.train is not None
    rgb, fov, labels, validation = [], [], [], []
    problems: list[str] = []
    for images, is_validation in ((grading.train, False), (grading.validation, True)):
        if not images:
            continue
        pictures = sized(images, size, artifacts, progress)
        problems += [f"{reason}; not learned from" for reason in pictures.unusable.values()]
        usable = pictures.usable
        rgb.append(pictures.rgb[usable])
        fov.append(pictures.fov[usable])
        labels.append(images.labels[usable])
        validation.append(np.full(len(usable), is_validation))
    lesson = Lesson(
        np.concatenate(rgb), np.concatenate(fov), np.concatenate(labels), np.concatenate(validation), classes
    )
    if not (~lesson.validation).sum():
        raise DataError("no training image can be used" + "".join(f"\n{p}" for p in problems[:3]))
    return lesson, problems
