"""Images of a Hugging Face data set in a local folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....canonical import digest
from ....errors import DataError, unknown
from ..items import NO_IMAGES, Grading, Images
from ..labels import class_index, patient_of
from ..pictures import Crop, read_prepared
from .splits import check_disjoint, cut

if TYPE_CHECKING:
    from .params import ImageDataset


@dataclass(frozen=True)
class RowPicture:
    """A picture of a data set's row, still encoded."""

    rows: Any
    number: int
    column: str
    crop: Crop
    stored = True

    def key(self) -> str:
        """Content of the encoded picture, and how it is prepared."""
        return f"{digest(self._content())} {self.crop}"

    def read(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Raises DataError for what is no picture, or no fundus where one is looked for."""
        return read_prepared(BytesIO(self._content()), self.crop, size)

    @property
    def name(self) -> str:
        """For messages."""
        return f"row {self.number}"

    def _content(self) -> bytes:
        """Empty where the row has no picture."""
        found = self.rows[self.number][self.column] or {}
        if found.get("bytes") is not None:
            return bytes(found["bytes"])
        return Path(found["path"]).read_bytes() if found.get("path") else b""


def load(spec: ImageDataset, folder: Path, limit: int | None) -> Grading:
    """See `ImageDataset.load`. Raises DataError for a split or a column that is not there."""
    splits = _opened(folder)
    test = _images(spec, folder, splits, spec.test, limit)
    train, validation = None, NO_IMAGES
    if spec.train:
        train = _images(spec, folder, splits, spec.train)
        if spec.validation:
            validation = _images(spec, folder, splits, spec.validation)
            check_disjoint(validation, train, spec.validation, spec.train)
        else:
            validation, train = cut(train, spec.validation_share, "validation")
        check_disjoint(train, test, spec.train, spec.test)
    named = {"test": test, "train": train or NO_IMAGES, "validation": validation}
    counts = {name: [int(n) for n in np.bincount(i.labels)] for name, i in named.items() if len(i)}
    return Grading(test, train, validation, facts={"label_counts": counts})


def pictures(folder: Path, column: str, crop: Crop) -> dict[str, RowPicture]:
    """Every picture of every split, by split and number. Raises DataError."""
    return {
        _name(split, number): RowPicture(encoded, number, column, crop)
        for split, rows in _opened(folder).items()
        for encoded in [_encoded(folder, rows, column)]
        for number in range(len(encoded))
    }


def _name(split: str, number: int) -> str:
    return f"{split}-{number:06d}"


def _encoded(folder: Path, rows: Any, column: str) -> Any:
    """The rows, their pictures left as they are stored. Raises DataError."""
    import datasets

    if column not in rows.column_names:
        raise DataError(f"{folder}: {unknown('column', column, rows.column_names)}")
    return rows.cast_column(column, datasets.Image(decode=False))


def _opened(folder: Path) -> Any:
    """The splits by name."""
    import datasets

    try:
        if (folder / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(folder))
        if (folder / "state.json").is_file():
            return {"all": datasets.load_from_disk(str(folder))}
        return datasets.load_dataset(str(folder))
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise DataError(f"{folder}: cannot be read as a data set of pictures ({error})") from error


def _images(spec: ImageDataset, folder: Path, splits: Any, split: str, limit: int | None = None) -> Images:
    if split not in splits:
        raise DataError(f"{folder}: {unknown('split', split, splits)}")
    rows = _encoded(folder, splits[split], spec.image_column)
    for column in filter(None, (spec.label_column, spec.name_column)):
        if column not in rows.column_names:
            raise DataError(f"{folder}: {unknown('column', column, rows.column_names)}")
    rows = rows if limit is None else rows.select(range(min(limit, len(rows))))
    read = class_index(spec.label_names)
    names, labels, found, left_out = [], [], [], {}
    of_names = rows[spec.name_column] if spec.name_column else [_name(split, n) for n in range(len(rows))]
    if twice := [name for name, count in Counter(map(str, of_names)).items() if count > 1]:
        raise DataError(f"{folder}: {split}: {spec.name_column} {twice[0]!r} is the name of several rows")
    for number, (name, label) in enumerate(zip(map(str, of_names), rows[spec.label_column], strict=True)):
        try:
            labels.append(int(read(str(label))))
        except ValueError as error:
            left_out[name] = f"its label is {label!r}; {error}"
            continue
        names.append(name)
        found.append(RowPicture(rows, number, spec.image_column, spec.crop))
    if not names:
        raise DataError(
            f"{folder}: split {split!r} has no usable row" + "".join(f"\n{r}" for r in [*left_out.values()][:3])
        )
    patients = tuple(patient_of(spec.patient_pattern, n) for n in names)
    problems = tuple(f"{folder}: {split}: image {n!r}: {reason}; left out" for n, reason in left_out.items())
    return Images(tuple(names), np.array(labels, int), patients, ({},) * len(names), tuple(found), left_out, problems)
