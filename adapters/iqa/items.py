"""What tasks of this family are about: named pictures with a grade or a score, and the splits that they come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np


class Picture(Protocol):
    """A picture that can be had."""

    stored: bool
    """Whether it is worth keeping a decoded copy."""

    @property
    def name(self) -> str:
        """For messages: the file, or what else it is."""
        ...

    def key(self) -> str:
        """Digest of what its pixels depend on, but for the size."""
        ...

    def read(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of shape (size, size, 3), uint8, and the field of view of shape (size, size), bool.

        Raises DataError.
        """
        ...


@runtime_checkable
class KnowsQuality(Protocol):
    """A picture whose quality is known at every pixel."""

    def quality(self, size: int) -> np.ndarray:
        """Shape (size, size), float32 from 0 (nothing can be seen) to 1."""
        ...


@dataclass(frozen=True)
class Images:
    """Images of one split. All sequences have the same length."""

    names: tuple[str, ...]
    labels: np.ndarray
    """Class indices (int), or scores (float)."""
    patients: tuple[str, ...]
    groups: tuple[Mapping[str, Any], ...]
    """Attributes by which results are shown apart."""
    pictures: tuple[Picture, ...] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Images that cannot be used, by name, with the reason."""
    problems: tuple[str, ...] = ()
    """What is wrong with the files, a sentence each, with the line."""

    def __len__(self) -> int:
        return len(self.names)

    def some(self, keep: Sequence[int] | np.ndarray) -> Images:
        """Only the images at these places."""
        return replace(
            self,
            names=tuple(self.names[i] for i in keep),
            labels=self.labels[np.asarray(keep, dtype=int)],
            patients=tuple(self.patients[i] for i in keep),
            groups=tuple(self.groups[i] for i in keep),
            pictures=None if self.pictures is None else tuple(self.pictures[i] for i in keep),
        )


NO_IMAGES = Images((), np.zeros(0, dtype=int), (), ())


@dataclass(frozen=True)
class Grading:
    """What a task hands to a method: images to grade, and labelled ones to learn from, of other patients."""

    test: Images
    train: Images | None = None
    validation: Images = NO_IMAGES
    """For early stopping; never the images to be graded."""
    sweep: Images = NO_IMAGES
    """Eyes whose pictures get worse along one axis at a time; attributes `axis` and `severity`."""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """What a method says of images."""

    values: Mapping[str, np.ndarray]
    """Class probabilities of shape (classes,), or scores of shape (1,), by image name; images may be missing."""
    problems: tuple[str, ...] = ()
    saliency: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Where it saw bad quality, shape (size, size), for some images."""
    cost: Mapping[str, float] = field(default_factory=dict)
    exhibits: Mapping[str, dict[str, Any]] = field(default_factory=dict)
