"""From files to arrays of one size: each picture is decoded and prepared once, and the copy is kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from ...artifacts import ArtifactStore
from ...digests import FileDigests
from ...errors import DataError
from ...provenance import package_version
from .items import Images, Picture

CHUNK = 256
"""Pictures in one stored file: 50 MB of them at 256 pixels."""
VERSION = 1
"""Raised when decoding or preparation gives other pixels."""
DECODERS = ("numpy", "opencv-python-headless", "pillow", "pydicom")
"""Libraries that pixels depend on; without pydicom a picture may have none."""
MOST_THREADS = 8
"""Threads that decode: each holds a whole photograph."""

Crop = Literal["field_of_view", "none"]


@dataclass(frozen=True)
class FilePicture:
    """A picture of a file: read, cropped to its field of view, padded to a square."""

    file: Path
    crop: Crop
    digests: FileDigests
    stored = True

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.file)

    def key(self) -> str:
        """Content of the file, and how it is prepared."""
        return f"{self.digests.of(self.file)} {self.crop}"

    def read(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Raises DataError for a file that is no picture, or no fundus where one is looked for."""
        return read_prepared(self.file, self.crop, size)


def read_prepared(file: Path | BinaryIO, crop: Crop, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and field of view of an encoded picture, at `size`. Raises DataError, which does not name it."""
    from ..vision.fundus import prepared, resized
    from ..vision.images import read_image

    try:
        return resized(*prepared(read_image(file), crop), size)
    except DataError as error:
        # What is kept of a picture is kept by its content, so it must not say where the file was.
        raise DataError(str(error).removeprefix(f"{file}: ")) from error


@dataclass(frozen=True)
class ArrayPicture:
    """A picture that is in memory already, with its quality where that is known."""

    identity: str
    name: str
    rgb: np.ndarray
    fov: np.ndarray
    known_quality: np.ndarray | None = None
    stored = False

    def key(self) -> str:
        """What it was made from."""
        return self.identity

    def read(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Resized where it has another size."""
        from ..vision.fundus import resized

        return (self.rgb, self.fov) if len(self.fov) == size else resized(self.rgb, self.fov, size)

    def quality(self, size: int) -> np.ndarray:
        """Shape (size, size)."""
        import cv2

        assert self.known_quality is not None
        if len(self.known_quality) == size:
            return self.known_quality
        return np.asarray(cv2.resize(self.known_quality, (size, size), interpolation=cv2.INTER_LINEAR))


@dataclass(frozen=True)
class Sized:
    """Pictures of one size, in the order of their images."""

    rgb: np.ndarray
    """Shape (n, size, size, 3), uint8."""
    fov: np.ndarray
    """Shape (n, size, size), bool."""
    unusable: Mapping[int, str]
    """Places of images whose picture cannot be read, with the reason; their pixels are zeros."""

    @cached_property
    def usable(self) -> np.ndarray:
        """Places of the other images."""
        return np.array([i for i in range(len(self.rgb)) if i not in self.unusable], dtype=int)

    def only(self, places: np.ndarray) -> Sized:
        """The pictures at these places, all of them usable."""
        return self if len(places) == len(self.rgb) else Sized(self.rgb[places], self.fov[places], {})


def sized(
    images: Images,
    size: int,
    artifacts: ArtifactStore | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sized:
    """All pictures of `images`; those that must be decoded come from the store, if any, where they were before."""
    assert images.pictures is not None
    n = len(images)
    rgb, fov = np.zeros((n, size, size, 3), np.uint8), np.zeros((n, size, size), bool)
    unusable: dict[int, str] = {}
    for start in range(0, n, CHUNK):
        progress(start, n)
        chunk = images.pictures[start : start + CHUNK]
        arrays = _chunk(chunk, size, artifacts)
        rgb[start : start + len(chunk)], fov[start : start + len(chunk)] = arrays["rgb"], arrays["fov"]
        for i, reason in enumerate(arrays["reason"].tolist()):
            if reason:
                unusable[start + i] = reason
    progress(n, n)
    return Sized(rgb, fov, unusable)


def versions() -> list[str]:
    """What pixels depend on, beside the files."""
    return [str(VERSION), *(package_version(name) for name in DECODERS)]


def _chunk(pictures: Sequence[Picture], size: int, artifacts: ArtifactStore | None) -> Mapping[str, np.ndarray]:
    if artifacts is None or not any(p.stored for p in pictures):
        return _read(pictures, size)
    key = {"pictures": [p.key() for p in pictures], "size": size, "versions": versions()}
    found: Mapping[str, np.ndarray] = artifacts.get("pictures", key, lambda: _read(pictures, size))
    return found


def _read(pictures: Sequence[Picture], size: int) -> dict[str, np.ndarray]:
    """`rgb`, `fov`, and for each picture the reason why it has none, mostly empty."""

    def one(picture: Picture) -> tuple[np.ndarray, np.ndarray, str]:
        try:
            return (*picture.read(size), "")
        except DataError as error:
            return np.zeros((size, size, 3), np.uint8), np.zeros((size, size), bool), str(error)

    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        rgb, fov, reasons = zip(*pool.map(one, pictures), strict=True)
    return {"rgb": np.stack(rgb), "fov": np.stack(fov), "reason": np.array(reasons, dtype=np.str_)}
