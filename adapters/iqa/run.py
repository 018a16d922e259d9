"""The protocols: ask the method once for all images, record its answer for each beside the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from ...errors import DataError
from ...job import Job, Part
from .exhibits import confusion, examples, reliability, robustness
from .items import Answers, Grading, Images, KnowsQuality
from .labels import SUM_TOLERANCE
from .localisation import localisation_auc
from .metrics import LOCALISATION, probability_column
from .params import Grade

MOST_WARNINGS = 5
"""Of one kind; the rest is counted."""


@runtime_checkable
class Answering(Protocol):
    """What an algorithm that yields `predictions` or `ratings` does."""

    def answers(self, grading: Grading, classes: tuple[str, ...], job: Job) -> Answers:
        """Probabilities (or a score, where there are no classes) for the images of `test` and `sweep`.

        Raises DataError.
        """
        ...


def grade(protocol: Grade, job: Job) -> Iterator[Part]:
    """Run one cell, in one part: learners keep what they have learned so far in the artifacts."""
    grading: Grading = job.items()
    classes = protocol.classes
    data = job.task.data
    _check(protocol, grading, getattr(data, "label_names", None) or getattr(data, "class_folders", None))
    for name, _ in job.chunks([grading.test], 1):
        answers = _answers(grading, classes, job)
        part = _part(name, grading, answers, job)
        sums, ties = [], 0
        for place, p in _answered(part, grading.test, answers):
            image, label, predicted = grading.test.names[place], int(grading.test.labels[place]), int(np.argmax(p))
            sums.append(float(p.sum()))
            ties += int((p == p.max()).sum() > 1)
            part.record(image, "correct", predicted == label)
            part.record(image, "label", label)
            part.record(image, "predicted", predicted)
            for class_, value in zip(classes, p, strict=True):
                part.record(image, probability_column(class_), value)
        part.facts |= {
            "n_rows_prob_sum_ne_1": sum(abs(s - 1) > SUM_TOLERANCE for s in sums),
            "prob_sum_min": min(sums),
            "prob_sum_max": max(sums),
            "n_argmax_ties": ties,
        }
        for place, p in _answered(part, grading.sweep, answers, needed=False):
            image, label, predicted = grading.sweep.names[place], int(grading.sweep.labels[place]), int(np.argmax(p))
            part.record(image, "sweep_correct", predicted == label)
            part.record(image, "sweep_label", label)
            part.record(image, "sweep_predicted", predicted)
        _locate(part, grading.test, answers)
        part.exhibits |= confusion(part, classes) | reliability(part, classes) | robustness(grading.sweep, answers)
        part.exhibits |= examples(grading.test, classes, answers)
        yield part


def rate(job: Job) -> Iterator[Part]:
    """The same for scores."""
    grading: Grading = job.items()
    for name, _ in job.chunks([grading.test], 1):
        answers = _answers(grading, (), job)
        part = _part(name, grading, answers, job)
        for place, score in _answered(part, grading.test, answers):
            part.record(grading.test.names[place], "label", float(grading.test.labels[place]))
            part.record(grading.test.names[place], "predicted", float(score[0]))
        yield part


def _answers(grading: Grading, classes: tuple[str, ...], job: Job) -> Answers:
    algorithm = job.method.algorithm
    assert isinstance(algorithm, Answering)
    return algorithm.answers(grading, classes, job)


def _check(protocol: Grade, grading: Grading, names: Sequence[str] | None = None) -> None:
    """Raises DataError where data and protocol do not fit."""
    classes = protocol.classes
    if names is not None and len(names) != len(classes):
        raise DataError(f"the data names {len(names)} labels ({', '.join(names)}), the task {len(classes)} classes")
    for split in (grading.test, grading.train, grading.validation, grading.sweep):
        if split and (worst := int(split.labels.max())) >= len(classes):
            image = split.names[int(split.labels.argmax())]
            hint = 'if labels count from 1, say so: label_names: ["1", "2", …]' if split.labels.min() >= 1 else ""
            raise DataError(
                f"label {worst} found (image {image!r}); the task has {len(classes)} classes ({', '.join(classes)})"
                + (f"; {hint}" if hint else "")
            )
    for by in protocol.by:
        if by not in grading.test.groups[0]:
            known = ", ".join(grading.test.groups[0]) or "none"
            raise DataError(f"`by: {by}` is not among the attributes of the images ({known})")
    if protocol.sweep and not grading.sweep:
        raise DataError("`sweep: true`, but the data has no sweep")


def _part(name: str, grading: Grading, answers: Answers, job: Job) -> Part:
    part = Part(name, facts=dict(grading.facts), cost=dict(answers.cost), exhibits=dict(answers.exhibits))
    splits = (grading.test, grading.train, grading.validation)
    for problems in (answers.problems, *(split.problems for split in splits if split is not None)):
        part.warnings += problems[:MOST_WARNINGS]
        if more := len(problems) - MOST_WARNINGS:
            part.warnings += [f"… and {more} more like these"] if more > 0 else []
    for image, reason in grading.test.left_out.items():
        part.items.append({"item": image, "skipped": reason})
    unknown = set(answers.values) - {*grading.test.names, *grading.test.left_out, *grading.sweep.names}
    if unknown and job.limit is None:
        part.warnings.append(f"{len(unknown)} predictions are for images that the task does not have")
    return part


def _answered(part: Part, images: Images, answers: Answers, needed: bool = True) -> Iterator[tuple[int, np.ndarray]]:
    """Places and answers of the images that have one; all are added to the items. Raises DataError when none has."""
    reasons: Counter[str] = Counter()
    found = 0
    for place, image in enumerate(images.names):
        row = {"item": image, "cluster": images.patients[place]}
        if (p := answers.values.get(image)) is None:
            part.items.append({**row, "skipped": "no prediction for this image"})
            reasons["missing"] += 1
            continue
        part.items.append({**row, **images.groups[place]})
        found += 1
        yield place, p
    if needed and not found:
        raise DataError("the method predicts none of the task's images; are the image names those of the labels?")
    if reasons:
        part.warnings.append(
            f"{reasons['missing']} of {len(images)} images have no prediction; scores are of the others"
        )


def _locate(part: Part, images: Images, answers: Answers) -> None:
    pictures = dict(zip(images.names, images.pictures or (), strict=False))
    for image, saliency in answers.saliency.items():
        picture = pictures[image]
        if isinstance(picture, KnowsQuality):
            _, fov = picture.read(len(saliency))
            auc = localisation_auc(saliency, picture.quality(len(saliency)), fov)
            if auc is not None:
                part.record(image, LOCALISATION.id, auc)
