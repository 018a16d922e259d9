"""Images in a folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ....artifacts import cache_home
from ....digests import FileDigests
from ....errors import DataError, unknown
from ..items import NO_IMAGES, Grading, Images
from ..labels import patient_of
from ..pictures import FilePicture
from .splits import cut, part_of

if TYPE_CHECKING:
    from .params import ImageFolders


def load(spec: ImageFolders, root: Path, limit: int | None) -> Grading:
    """See `ImageFolders.load`. Raises DataError for a folder that is not there."""
    from ...vision.images import find_images

    there = sorted(p.name for p in root.iterdir() if p.is_dir())
    digests = FileDigests.load(cache_home())
    names, labels, pictures = [], [], []
    for label, folder in enumerate(spec.class_folders):
        if folder not in there:
            raise DataError(f"{root}: {unknown('folder', folder, there)}")
        for file in find_images([root / folder]):
            names.append(file.relative_to(root).as_posix())
            labels.append(label)
            pictures.append(FilePicture(file, spec.crop, digests))
    patients = tuple(patient_of(spec.patient_pattern, n) for n in names)
    everything = Images(tuple(names), np.array(labels), patients, ({},) * len(names), tuple(pictures))
    # Folder after folder would be class after class, of which the first few images know only one.
    everything = everything.some(sorted(range(len(names)), key=lambda i: part_of(names[i], "order")))
    test, train = cut(everything, spec.test_share, "test")
    if not len(test) or (spec.test_share < 1 and not len(train)):
        raise DataError(f"{root}: {len(names)} images are too few for a test share of {spec.test_share}")
    counts = {"test": [int(n) for n in np.bincount(test.labels)], "train": [int(n) for n in np.bincount(train.labels)]}
    validation, train = cut(train, spec.validation_share, "validation") if len(train) else (NO_IMAGES, train)
    test = test if limit is None else test.some(range(min(limit, len(test))))
    return Grading(test, train if len(train) else None, validation, facts={"label_counts": counts})
