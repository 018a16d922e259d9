"""Label and prediction files: CSV as EyeQ's are (github.com/HzFu/EyeQ), under any column names.

A row that cannot be used costs no other: it is left out, and a sentence says where and why.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import DataError, closest
from .items import Images

SUM_TOLERANCE = 1e-6
"""Probabilities whose sum differs from one by more than this are told of."""


@dataclass(frozen=True)
class Columns:
    """Where a label file says what."""

    image: str
    label: str
    groups: Sequence[str] = ()
    patient: str | None = None
    """Regular expression, its first group the patient in an image's name."""


def class_index(names: Sequence[str]) -> Callable[[str], float]:
    """Reads a class: one of `names`, in the order of their indices; without names, the index itself."""

    def read(text: str) -> float:
        if names:
            if text not in names:
                raise ValueError(f"expected one of {', '.join(names)}")
            return names.index(text)
        whole = text.removesuffix(".0")  # what a table with gaps makes of a whole number
        if not whole.isdecimal():
            raise ValueError("expected a class index 0, 1, …")
        return int(whole)

    return read


def score(text: str) -> float:
    """Reads a score."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("expected a number")
    return value


def read_labels(columns: Columns, file: Path, read: Callable[[str], float]) -> Images:
    """Labels of a CSV file, a row an image. Raises DataError when the file itself is unusable.

    Rows without a usable label are left out, and so are images with two different ones.
    """
    where: dict[str, int] = {}
    labels: dict[str, float] = {}
    groups: dict[str, dict[str, str]] = {}
    unusable: dict[str, str] = {}
    left_out: dict[str, str] = {}
    problems: list[str] = []
    for line, row in read_rows(file, [columns.image, columns.label, *columns.groups]):
        name, text = row[columns.image], row[columns.label]
        here = f"{file}:{line}: image {name!r}"
        if not name:
            problems.append(f"{file}:{line}: no image name in column {columns.image!r}; left out")
            continue
        try:
            if not text:
                raise ValueError("no label")
            label = read(text)
        except ValueError as error:
            reason = str(error) if not text else f"{columns.label} is {text!r}; {error}"
            unusable.setdefault(name, reason)
            problems.append(f"{here}: {reason}; left out")
            continue
        if name not in where:
            where[name], labels[name] = line, label
            groups[name] = {c: row[c] for c in columns.groups}
        elif labels[name] == label:
            problems.append(f"{here} again, with the same label as in line {where[name]}")
        else:
            reason = f"its label is {text!r} here and another one in line {where[name]}"
            left_out.setdefault(name, reason)
            problems.append(f"{here}: {reason}; left out")
    # A row that says nothing usable takes nothing from one that does.
    left_out |= {name: reason for name, reason in unusable.items() if name not in where}
    names = [name for name in where if name not in left_out]
    if not names:
        raise DataError(f"{file}: no usable row after the header" + "".join(f"\n{p}" for p in problems[:3]))
    values = np.array([labels[n] for n in names])
    if all(isinstance(labels[n], int) for n in names):
        values = values.astype(int)
    patients = tuple(patient_of(columns.patient, n, f"{file}:{where[n]}: ") for n in names)
    return Images(tuple(names), values, patients, tuple(groups[n] for n in names), None, left_out, tuple(problems))


def patient_of(pattern: str | None, name: str, where: str = "") -> str:
    """The patient in an image's name: the pattern's first group, in the file's name if it fits there, else in all of
    it with its folders; the name itself without a pattern. Raises DataError."""
    if pattern is None:
        return name
    match = re.match(pattern, PurePosixPath(name).name) or re.match(pattern, name)
    if match is None:
        raise DataError(f"{where}image {name!r} does not match the pattern {pattern!r}")
    return match.group(1)


@dataclass(frozen=True)
class Predictions:
    """Class probabilities by image name, each of shape (classes,), as they are in the file."""

    values: Mapping[str, np.ndarray]
    problems: tuple[str, ...]


def read_predictions(file: Path, image_column: str, classes: Sequence[str]) -> Predictions:
    """Probabilities from a CSV file with one column for each class. Raises DataError when the file is unusable.

    Rows with something that is no probability are left out, and so are images with two different rows.
    """
    where: dict[str, int] = {}
    found: dict[str, np.ndarray] = {}
    bad: set[str] = set()
    problems: list[str] = []
    for line, row in read_rows(file, [image_column, *classes]):
        name = row[image_column]
        try:
            values = np.array([_probability(c, row[c]) for c in classes])
            if not name:
                raise ValueError(f"no image name in column {image_column!r}")
            if values.sum() <= 0:
                raise ValueError("no probability is above 0")
        except ValueError as error:
            bad.add(name)
            problems.append(f"{file}:{line}: image {name!r}: {error}; left out")
            continue
        if name not in where:
            where[name], found[name] = line, values
        elif np.array_equal(found[name], values):
            problems.append(f"{file}:{line}: image {name!r} again, with the same values as in line {where[name]}")
        else:
            bad.add(name)
            problems.append(
                f"{file}:{line}: image {name!r} again, with other values than in line {where[name]}; left out"
            )
    kept = {name: values for name, values in found.items() if name not in bad}
    if not kept:
        raise DataError(f"{file}: no usable row after the header" + "".join(f"\n{p}" for p in problems[:3]))
    sums = [float(v.sum()) for v in kept.values()]
    if off := sum(abs(s - 1) > SUM_TOLERANCE for s in sums):
        span = f"{min(sums):.3f} to {max(sums):.3f}"
        problems.append(
            f"{file}: the probabilities of {off} images do not sum to one ({span}); raw and normalised are both scored"
        )
    return Predictions(kept, tuple(problems))


def _probability(column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError(f"{column} is {text!r}; expected a probability between 0 and 1")
    return value


def read_rows(file: Path, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their line numbers, the `wanted` columns present. Raises DataError."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = reader.fieldnames or []
            _check_header(file, columns)
            for column in wanted:
                if list(columns).count(column) > 1:
                    raise DataError(f"{file}:1: several columns are called {column!r}")
                if column not in columns:
                    near = closest(column, columns)
                    hint = f"did you mean {near!r}?" if near else f"columns: {', '.join(columns)}"
                    raise DataError(f"{file}:1: no column {column!r}; {hint}")
            for row in reader:
                yield reader.line_num, {c: (row[c] or "").strip() for c in wanted}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as CSV ({error})") from error


def column_of(file: Path, candidates: Sequence[str]) -> str:
    """The first of `candidates` that the file has as a column. Raises DataError naming its columns."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            columns = next(csv.reader(stream), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as CSV ({error})") from error
    _check_header(file, columns)
    for name in candidates:
        if name in columns:
            return name
    raise DataError(f"{file}:1: none of the columns {', '.join(candidates)}; it has {', '.join(columns)}")


def _check_header(file: Path, columns: Sequence[str]) -> None:
    """Raises DataError for a file that is empty or separated by something else."""
    if not columns:
        raise DataError(f"{file}: is empty; expected a header with the names of the columns")
    for mark, said in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and mark in columns[0]:
            raise DataError(f"{file}:1: the columns are separated by {said}; write it with commas")


def by_stem(values: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Answers under the names of a task's images: the same name, else the only one of the same stem.

    Preprocessing gives pictures another suffix, and a folder before them: `test/1_left.png` for `1_left.jpeg`.
    """
    stems = Counter(PurePosixPath(name).stem for name in names)
    known = {PurePosixPath(name).stem: name for name in names}
    found = {name: value for name, value in values.items() if name in set(names)}
    for name, value in values.items():
        stem = PurePosixPath(name).stem
        if name not in found and stems[stem] == 1 and known[stem] not in values:
            found.setdefault(known[stem], value)
        elif name not in found:
            found[name] = value
    return found
