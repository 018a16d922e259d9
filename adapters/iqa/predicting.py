"""Pictures of a user's own, graded by a trained method."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...artifacts import ArtifactStore, artifact_root, cache_home
from ...digests import FileDigests
from ...errors import DataError, RunError, UsageError
from .checkpoint import Checkpoint
from .items import Images, Picture
from .labels import column_of, read_rows
from .learning import answered
from .pictures import Crop, FilePicture
from .scored import IMAGE_COLUMNS
from .seeing import Place


def listed(paths: Sequence[Path], folder: Path | None, column: str | None, crop: Crop) -> Images:
    """The pictures that files, folders, CSV lists and data sets name, in their order. Raises DataError, UsageError.

    `folder`: where the pictures of CSV lists are, beside the list if None. Pictures that a list names and that are
    not there are left out.
    """
    from ..vision.images import find_images, index

    digests = FileDigests.load(cache_home())
    found: dict[str, Picture] = {}
    left_out: dict[str, str] = {}

    def add(name: str, picture: Picture) -> None:
        known = found.setdefault(name, picture)
        if known.name != picture.name:
            raise UsageError(
                f"{picture.name}: {known.name} is called {name!r} as well; name their common folder instead"
            )

    for path in paths:
        if path.suffix.lower() == ".csv":
            name_column = column or column_of(path, IMAGE_COLUMNS)
            find = index(folder or path.parent)
            for _, row in read_rows(path, [name_column]):
                try:
                    add(row[name_column], FilePicture(find(row[name_column]), crop, digests))
                except DataError as error:
                    left_out[row[name_column]] = str(error)
        elif any((path / name).is_file() for name in ("dataset_dict.json", "dataset_info.json", "state.json")):
            from .sources.dataset import pictures

            for name, picture in pictures(path, column or "image", crop).items():
                add(name, picture)
        else:
            for file in find_images([path]):
                name = file.relative_to(path).as_posix() if path.is_dir() else file.name
                add(name, FilePicture(file, crop, digests))
    if not found:
        raise DataError("none of the pictures is there" + "".join(f"\n{r}" for r in [*left_out.values()][:3]))
    names = tuple(found)
    return Images(names, np.zeros(len(names), int), names, ({},) * len(names), tuple(found.values()), left_out)


def predictions(
    checkpoint: Checkpoint, images: Images, device: str, threads: int, progress: Callable[[int, int], None]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Probabilities or scores by name, and a sentence for each picture that could not be read."""
    place = Place(device, threads, checkpoint.seed, checkpoint.files, progress)
    store = ArtifactStore(artifact_root())
    found, problems, _ = answered(checkpoint.learner, checkpoint.learned, images, len(checkpoint.classes), place, store)
    problems = [*(f"{reason}; left out" for reason in images.left_out.values()), *problems]
    if not found:
        raise DataError("none of the pictures can be graded" + "".join(f"\n{p}" for p in problems[:3]))
    return found, problems


def write(file: Path, found: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    """One row a picture, numbers as `repr` writes them. Raises RunError when the disk refuses."""
    try:
        with file.open("w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(["image", *(classes or ["score"])])
            rows.writerows([name, *map(float, values)] for name, values in found.items())
    except OSError as error:
        raise RunError(f"{file}: cannot be written ({error.strerror})") from error
