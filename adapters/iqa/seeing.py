"""What a method sees of pictures: part after part, so that a large set need not be in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...artifacts import ArtifactStore
from ...canonical import digest
from ...provenance import package_version
from .items import Images
from .pictures import sized

if TYPE_CHECKING:
    from .learning import Learner

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


@dataclass(frozen=True)
class Seen:
    """What a method sees of some images."""

    rows: np.ndarray
    """A row for each picture that can be read."""
    places: np.ndarray
    """Shape (rows,): which image each is of."""
    problems: tuple[str, ...]
    """A sentence for each picture that cannot be read."""


def keys(images: Images) -> str:
    """Digest of what the pixels of all pictures depend on, in their order."""
    return digest([picture.key() for picture in images.pictures or ()])


def parts(images: Images) -> Iterator[Images]:
    """The images, PART at a time."""
    for start in range(0, len(images), PART):
        yield images.some(range(start, min(start + PART, len(images))))


def see(learner: Learner, images: Images, place: Place, artifacts: ArtifactStore) -> Seen:
    """What `learner` sees of images, PART of them at most; kept where that is worth it."""

    def make() -> dict[str, np.ndarray]:
        pictures = sized(images, learner.input_size, artifacts, place.progress)
        rows = learner.see(pictures.only(pictures.usable), place)
        reasons = np.array(list(pictures.unusable.values()), dtype=np.str_)
        return {"rows": rows, "places": pictures.usable, "reasons": reasons}

    if (sight := learner.sight(place)) is None:
        found = make()
    else:
        key = {"sight": sight, "size": learner.input_size, "pictures": keys(images), **place.key()}
        found = artifacts.get("seen", key, make)
    return Seen(found["rows"], found["places"], tuple(found["reasons"].tolist()))
