"""What a method sees of pictures: part after part, so that a large set need not be in memory at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...artifacts import ArtifactStore
from ...canonical import digest
from ...provenance import package_version
from .items import Images
from .pictures import FilePicture, Sized, sized, versions

PART = 2048
"""Images whose pixels are held at once: 300 MB of them at 224 pixels, 1.6 GB at 512."""
LIBRARIES = ("torch", "timm", "scikit-learn", "opencv-python-headless")


@dataclass(frozen=True)
class Place:
    """Where and how to compute."""

    device: str = "cpu"
    threads: int = 1
    seed: int = 0
    files: Mapping[str, Path] = field(default_factory=dict)
    """Files that the method's spec names, by field."""
    progress: Callable[[int, int], None] = lambda done, total: None
    scratch: Path | None = None
    """Folder for what lets learning go on after a kill."""

    def key(self) -> dict[str, Any]:
        """What a computation depends on that no spec says, the seed aside."""
        return {
            "files": {name: digest(file.read_bytes()) for name, file in sorted(self.files.items())},
            "device": self.device.partition(":")[0],
            "threads": self.threads,
            "libraries": [package_version(name) for name in LIBRARIES],
        }


class Sees(Protocol):
    """The part of a learner that looks at pictures."""

    @property
    def input_size(self) -> int:
        """Side of the pictures that it looks at."""
        ...

    def see(self, pictures: Sized, place: Place) -> np.ndarray:
        """What it looks at, a row for each picture, each independent of the others."""
        ...

    def sight(self, place: Place) -> dict[str, Any] | None:
        """What `see` depends on beside the pictures, where its rows are worth keeping."""
        ...


@dataclass(frozen=True)
class Seen:
    """What a method sees of some images."""

    rows: np.ndarray
    """A row for each picture that can be read."""
    places: np.ndarray
    """Shape (rows,): which image each is of."""
    problems: tuple[str, ...]
    """A sentence for each picture that cannot be read."""
    wall_s: float
    """Seconds that looking took when it was done, without reading the files."""


def keys(images: Images) -> str:
    """Digest of what the pixels of all pictures depend on, in their order."""
    pictures = images.pictures or ()
    found = digest([[picture.key() for picture in pictures], versions()])
    for digests in {id(p.digests): p.digests for p in pictures if isinstance(p, FilePicture)}.values():
        digests.save()
    return found


def parts(images: Images) -> Iterator[Images]:
    """The images, PART at a time."""
    for start in range(0, len(images), PART):
        yield images.some(range(start, min(start + PART, len(images))))


def see(learner: Sees, images: Images, place: Place, artifacts: ArtifactStore) -> Seen:
    """What `learner` sees of images, PART of them at most; kept where that is worth it, else their pixels are."""
    sight = learner.sight(place)

    def make() -> dict[str, np.ndarray]:
        pictures = sized(images, learner.input_size, artifacts if sight is None else None, place.progress)
        begun = time.perf_counter()
        rows = learner.see(pictures.only(pictures.usable), place)
        return {
            "rows": rows,
            "places": pictures.usable,
            "unusable": np.array(list(pictures.unusable), dtype=int),
            "reasons": np.array(list(pictures.unusable.values()), dtype=np.str_),
            "wall_s": np.array(time.perf_counter() - begun),
        }

    if sight is None:
        found = make()
    else:
        key = {"sight": sight, "size": learner.input_size, "pictures": keys(images), **place.key()}
        found = artifacts.get("seen", key, make)
    assert images.pictures is not None
    reasons = zip(found["unusable"].tolist(), found["reasons"].tolist(), strict=True)
    problems = tuple(f"{images.pictures[i].name}: {reason}" for i, reason in reasons)
    return Seen(found["rows"], found["places"], problems, float(found["wall_s"]))
