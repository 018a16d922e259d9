"""The protocol: ask the method for probabilities once, record label, decision and probabilities of each image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from ...errors import DataError
from ...job import Job, Part
from .data import Grading
from .metrics import probability_column
from .params import Grade

SUM_TOLERANCE = 1e-6
"""Rows whose probabilities differ from one by more than this are counted."""


@runtime_checkable
class Predicts(Protocol):
    """What an algorithm that yields `predictions` does."""

    def predict(self, grading: Grading, classes: tuple[str, ...], job: Job) -> dict[str, np.ndarray]:
        """Probabilities of shape (classes,) by image name; images may be missing. Raises DataError."""
        ...


def grade(protocol: Grade, job: Job) -> Iterator[Part]:
    """Run one cell, in one part: predictions are cheap to read, and learners commit their own checkpoints."""
    grading: Grading = job.items()
    images, classes = grading.test, protocol.classes
    for split in (images, grading.train):
        if split is not None and split.labels.max() >= len(classes):
            raise DataError(
                f"label {split.labels.max()} found; the task has {len(classes)} classes ({', '.join(classes)})"
            )
    if protocol.by is not None and protocol.by not in images.groups[0]:
        known = ", ".join(images.groups[0]) or "none"
        raise DataError(f"`by: {protocol.by}` is not among the data's group_columns ({known})")
    for name, _ in job.chunks([images], 1):
        algorithm = job.method.algorithm
        assert isinstance(algorithm, Predicts)
        predictions = algorithm.predict(grading, classes, job)
        part = Part(name, facts=dict(grading.facts))
        sums, ties = [], 0
        for image, label, patient, groups in zip(
            images.names, images.labels, images.patients, images.groups, strict=True
        ):
            p = predictions.get(image)
            if p is None:
                part.items.append({"item": image, "cluster": patient, "skipped": "no prediction for this image"})
                continue
            part.items.append({"item": image, "cluster": patient, **groups})
            predicted = int(np.argmax(p))
            sums.append(float(p.sum()))
            ties += int((p == p.max()).sum() > 1)
            part.record(image, "correct", predicted == label)
            part.record(image, "label", int(label))
            part.record(image, "predicted", predicted)
            for class_, value in zip(classes, p, strict=True):
                part.record(image, probability_column(class_), value)
        if not sums:
            raise DataError("the method predicts none of the task's images; are the image names those of the labels?")
        part.facts |= {
            "n_rows_prob_sum_ne_1": sum(abs(s - 1) > SUM_TOLERANCE for s in sums),
            "prob_sum_min": min(sums),
            "prob_sum_max": max(sums),
            "n_argmax_ties": ties,
        }
        if unknown := len(set(predictions) - set(images.names)) if job.limit is None else 0:
            part.warnings.append(f"{unknown} predictions are for images that the task does not have")
        yield part
