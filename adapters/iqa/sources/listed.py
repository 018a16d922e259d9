"""Images from CSV lists, with or without a folder of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ....artifacts import cache_home
from ....digests import FileDigests
from ....errors import DataError
from ..items import NO_IMAGES, Grading, Images
from ..labels import Columns, read_labels
from ..pictures import Crop, FilePicture
from .params import Listed
from .splits import check_disjoint, cut


def load(spec: Listed, files: Mapping[str, Path], limit: int | None) -> Grading:
    """See `Listed.load`."""
    test = _split(spec, files, "labels", "images")
    facts: dict[str, Any] = {"label_counts": {"test": _counts(test)}}
    train, validation = None, NO_IMAGES
    if "train" in files:
        train = _split(spec, files, "train", "train_images")
        check_disjoint(train, test, files["train"], files["labels"])
        facts["label_counts"]["train"] = _counts(train)
        if "validation" in files:
            validation = _split(spec, files, "validation", "validation_images")
            check_disjoint(validation, test, files["validation"], files["labels"])
            check_disjoint(validation, train, files["validation"], files["train"])
        elif spec.images is not None:
            validation, train = cut(train, spec.validation_share, "validation")
    test = test if limit is None else test.some(range(min(limit, len(test))))
    return Grading(test, train, validation, facts=facts)


def _counts(images: Images) -> list[int] | int:
    """Images of each class; of scores their number."""
    counted = images.labels.dtype.kind == "i"
    return [int(n) for n in np.bincount(images.labels)] if counted else len(images)


def _split(spec: Listed, files: Mapping[str, Path], labels: str, folder: str) -> Images:
    column, read = spec.label
    columns = Columns(spec.image_column, column, spec.group_columns, spec.patient_pattern)
    images = read_labels(columns, files[labels], read)
    _check_names(spec, files[labels], images)
    where = files.get(folder, files.get("images"))
    return images if where is None else with_pictures(images, where, spec.crop)


def _check_names(spec: Listed, file: Path, images: Images) -> None:
    """Raises DataError when a label that the spec names is nowhere, and one that it does not name is."""
    names = getattr(spec, "label_names", ())
    missing = [name for i, name in enumerate(names) if not (images.labels == i).any()]
    if missing and (odd := [r for r in images.left_out.values() if "expected one of" in r]):
        raise DataError(f"{file}: no image is labelled {missing[0]!r}, but {len(odd)} have other labels: {odd[0]}")


def with_pictures(images: Images, folder: Path, crop: Crop) -> Images:
    """The images whose picture is in `folder`; the others are left out, by name. Raises DataError when all are."""
    from ...vision.images import index

    find, digests = index(folder), FileDigests.load(cache_home())
    pictures, keep, missing = [], [], {}
    taken: dict[Path, str] = {}
    for place, name in enumerate(images.names):
        try:
            file = find(name)
            if (other := taken.setdefault(file, name)) != name:
                raise DataError(f"{file}: is the picture of {other!r}, and the nearest to {name!r}")
            pictures.append(FilePicture(file, crop, digests))
            keep.append(place)
        except DataError as error:
            missing[name] = str(error)
    if not keep:
        raise DataError(f"{folder}: none of the {len(images)} listed images is there, for example {images.names[0]}")
    problems = (*images.problems, *(f"{reason}; left out" for reason in missing.values()))
    left = {**images.left_out, **dict.fromkeys(missing, "no picture")}
    return replace(images.some(keep), pictures=tuple(pictures), left_out=left, problems=problems)
