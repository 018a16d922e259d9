"""Label and prediction files in the formats in which they were published (EyeQ: github.com/HzFu/EyeQ)."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, closest
from .params import GradedImages


@dataclass(frozen=True)
class Images:
    """Graded images. All sequences have the same length."""

    names: tuple[str, ...]
    labels: np.ndarray
    """Class indices, int."""
    patients: tuple[str, ...]
    groups: tuple[Mapping[str, str], ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Grading:
    """What a task hands to a method: images to grade, labels to learn priors from, and facts about both."""

    test: Images
    train: Images | None
    facts: Mapping[str, Any]


def load_grading(spec: GradedImages, files: Mapping[str, Path], limit: int | None) -> Grading:
    """See `GradedImages.load`."""
    test = read_labels(spec, files["labels"])
    train = read_labels(spec, files["train"]) if "train" in files else None
    facts: dict[str, Any] = {"label_counts": {"test": _counts(test)}}
    if train is not None:
        shared = sorted(set(test.names) & set(train.names))
        if shared:
            raise DataError(
                f"{files['train']}: {len(shared)} images are also in {files['labels']}, for example {shared[0]}"
            )
        patients = set(test.patients) & set(train.patients)
        facts["label_counts"]["train"] = _counts(train)
        facts["patients_in_both_splits"] = len(patients)
        if patients:
            example = sorted(patients)[0]
            raise DataError(
                f"{files['train']}: {len(patients)} patients are also in {files['labels']}, for example {example}"
            )
    if limit is not None:
        test = Images(test.names[:limit], test.labels[:limit], test.patients[:limit], test.groups[:limit])
    return Grading(test, train, facts)


def _counts(images: Images) -> list[int]:
    return [int(n) for n in np.bincount(images.labels)]


def read_labels(spec: GradedImages, file: Path) -> Images:
    """Labels of a CSV file. Raises DataError naming the line, for duplicates as well."""
    wanted = [spec.image_column, spec.label_column, *spec.group_columns]
    names: dict[str, int] = {}
    labels: list[int] = []
    groups: list[dict[str, str]] = []
    for line, row in read_rows(file, wanted):
        name, label = row[spec.image_column], row[spec.label_column]
        if name in names:
            raise DataError(f"{file}:{line}: image {name!r} again, first at line {names[name]}")
        if not label.isdecimal():
            raise DataError(f"{file}:{line}: {spec.label_column}: got {label!r}; expected a class index 0, 1, …")
        names[name] = line
        labels.append(int(label))
        groups.append({c: row[c] for c in spec.group_columns})
    if not names:
        raise DataError(f"{file}: no rows after the header")
    return Images(tuple(names), np.array(labels), tuple(_patients(spec, file, names)), tuple(groups))


def _patients(spec: GradedImages, file: Path, names: Mapping[str, int]) -> Iterator[str]:
    if spec.patient_pattern is None:
        yield from names
        return
    pattern = re.compile(spec.patient_pattern)
    for name, line in names.items():
        match = pattern.match(name)
        if match is None:
            raise DataError(f"{file}:{line}: image {name!r} does not match the pattern {spec.patient_pattern!r}")
        yield match.group(1)


def read_predictions(file: Path, image_column: str, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Class probabilities by image name, from a CSV file with one column for each class. Raises DataError."""
    found: dict[str, np.ndarray] = {}
    for line, row in read_rows(file, [image_column, *classes]):
        name = row[image_column]
        if name in found:
            raise DataError(f"{file}:{line}: image {name!r} again")
        found[name] = np.array([_probability(file, line, c, row[c]) for c in classes])
        if found[name].sum() <= 0:
            raise DataError(f"{file}:{line}: image {name!r} has no probability above 0")
    return found


def _probability(file: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise DataError(f"{file}:{line}: {column}: got {text!r}; expected a probability between 0 and 1")
    return value


def read_rows(file: Path, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their line numbers, the `wanted` columns present and filled. Raises DataError."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = reader.fieldnames or []
            for column in wanted:
                if column not in columns:
                    near = closest(column, columns)
                    hint = f"did you mean {near!r}?" if near else f"columns: {', '.join(columns)}"
                    raise DataError(f"{file}:1: no column {column!r}; {hint}")
            for row in reader:
                if empty := [c for c in wanted if not row[c]]:
                    raise DataError(f"{file}:{reader.line_num}: {empty[0]}: is empty")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as CSV ({error})") from error
