"""Methods that learn from a task's training images: what they share.

What was learned is an artifact: made once for the same pictures, labels, spec and seed, whoever asks for it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...artifacts import ArtifactStore
from ...canonical import digest
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

    def start(self) -> str:
        """Digest of weights that it starts from and that no file of its spec names. Raises ModelError."""
        return ""

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
        found, left_out, wall_s = answered(self, learned, grading.test, k, place, job.artifacts)
        cost["images_per_s"] = round(len(found) / max(wall_s, 1e-9), 1)
        swept, _, _ = answered(self, learned, grading.sweep, k, place, job.artifacts)
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
) -> tuple[dict[str, np.ndarray], list[str], float]:
    """Answers by name, a sentence for each image whose picture cannot be read, seconds without reading the files."""
    found: dict[str, np.ndarray] = {}
    problems: list[str] = []
    wall_s = 0.0
    for part in parts(images):
        seen = see(learner, part, place, artifacts)
        problems += [f"{reason}; left out" for reason in seen.problems]
        begun = time.perf_counter() - seen.wall_s
        if len(seen.places):
            outputs = learner.outputs(learned, seen.rows, classes, place)
            found |= {part.names[i]: p for i, p in zip(seen.places, outputs, strict=True)}
        wall_s += time.perf_counter() - begun
    return found, problems, wall_s


def learn(
    learner: Learner, grading: Grading, classes: int, place: Place, artifacts: ArtifactStore
) -> tuple[dict[str, np.ndarray], dict[str, float], list[str]]:
    """What `learner` learned from a task, what that cost when it was done, and what was left out. Raises DataError."""
    train, validation = grading.train, grading.validation
    assert train is not None
    splits = (train, validation)
    key = {
        "algorithm": identity(learner),
        "start": learner.start(),
        "pictures": [keys(images) for images in splits],
        # Left-out images are told of by name, so the names belong to what is kept.
        "labels": digest([[images.labels.tolist(), list(images.names)] for images in splits]),
        "classes": classes,
        "seed": place.seed,
        **place.key(),
    }

    def make() -> dict[str, np.ndarray]:
        lesson, problems, see_wall_s = _lesson(learner, train, validation, classes, place, artifacts)
        cpu, wall = time.process_time(), time.perf_counter()
        made = learner.learn(lesson, replace(place, scratch=_scratch(artifacts, key)))
        spent = {"train_cpu_s": time.process_time() - cpu, "train_wall_s": time.perf_counter() - wall}
        spent["see_wall_s"] = see_wall_s
        costs = {f"{_COST}{name}": np.array(value) for name, value in spent.items()}
        return {**made, **costs, _LEFT_OUT: np.array(problems, dtype=np.str_)}

    stored = dict(artifacts.get("learned", key, make))
    problems = [f"{reason}; not learned from" for reason in stored.pop(_LEFT_OUT).tolist()]
    cost = {n.removeprefix(_COST): round(float(stored.pop(n)), 4) for n in list(stored) if n.startswith(_COST)}
    return stored, cost, problems


def _scratch(artifacts: ArtifactStore, key: Mapping[str, Any]) -> Path | None:
    try:
        return artifacts.scratch("learned", key)
    except OSError as error:
        warnings.warn(f"learning cannot go on after a kill: {artifacts.root} is not writable ({error})", stacklevel=2)
        return None


def _lesson(
    learner: Learner, train: Images, validation: Images, classes: int, place: Place, artifacts: ArtifactStore
) -> tuple[Lesson, list[str], float]:
    """What is seen of the images that can be read, a sentence for each that cannot, and seconds of looking.

    Raises DataError.
    """
    labels, late = [], []
    problems: list[str] = []
    rows, filled, wall_s = np.zeros(0), 0, 0.0
    for images in (train, validation):
        for part in parts(images):
            seen = see(learner, part, place, artifacts)
            if not filled:
                # One array for all, so that parts are never held beside their sum.
                rows = np.zeros((len(train) + len(validation), *seen.rows.shape[1:]), seen.rows.dtype)
            rows[filled : filled + len(seen.places)] = seen.rows
            filled += len(seen.places)
            labels.append(part.labels[seen.places])
            late.append(np.full(len(seen.places), images is validation))
            problems += seen.problems
            wall_s += seen.wall_s
    lesson = Lesson(rows[:filled], np.concatenate(labels), np.concatenate(late), classes)
    if lesson.validation.all():
        raise DataError("no training image can be used" + "".join(f"\n{p}" for p in problems[:3]))
    return lesson, problems, wall_s
