"""The planes that a network reads: each colour space and each prior of its branches, once.

Planes are bytes, so that a data set of them is small; a network scales them itself, on its device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .params import Design, Prior

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's images in 0…1, as torchvision and timm use them."""
COLOURS = 3


@dataclass(frozen=True)
class Reading:
    """Which channels of the planes a branch reads."""

    inputs: tuple[int, ...]
    """What its first convolution is given: the image, then the priors of `embed: input`."""
    gates: tuple[int, ...]
    """The priors that multiply the output of its first convolution."""


@dataclass(frozen=True)
class Layout:
    """The order of the planes: images of three channels each, then priors."""

    spaces: tuple[Literal["rgb", "hsv", "lab"], ...]
    priors: tuple[Prior, ...]
    branches: tuple[Reading, ...]

    @property
    def colours(self) -> int:
        """How many channels are colours."""
        return COLOURS * len(self.spaces)

    @property
    def channels(self) -> int:
        """How many there are in all."""
        return self.colours + len(self.priors)


def layout(design: Design) -> Layout:
    """The planes of a design, in the order in which its branches name them."""
    spaces = tuple(dict.fromkeys(branch.image for branch in design.branches))
    priors = tuple(dict.fromkeys(prior for branch in design.branches for prior in branch.priors))
    readings = []
    for branch in design.branches:
        start = COLOURS * spaces.index(branch.image)
        image = tuple(range(start, start + COLOURS))
        maps = tuple(COLOURS * len(spaces) + priors.index(prior) for prior in branch.priors)
        readings.append(Reading(image + maps, ()) if branch.embed == "input" else Reading(image, maps))
    return Layout(spaces, priors, tuple(readings))


def planes(design: Design, rgb: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """Planes (n, C, S, S), uint8, of images (n, S, S, 3), uint8, and their fields of view (n, S, S), bool.

    Raises ValueError for images of another size than the design's.
    """
    from .colour import in_space
    from .priors import prior_map

    size = (design.size, design.size)
    if rgb.shape[1:] != (*size, COLOURS) or fov.shape != rgb.shape[:-1]:
        raise ValueError(f"images {rgb.shape} with fields of view {fov.shape}; the design's size is {design.size}")
    order = layout(design)
    found = np.empty((len(rgb), order.channels, *size), np.uint8)
    for row, image, inside in zip(found, rgb, fov, strict=True):
        for i, space in enumerate(order.spaces):
            row[COLOURS * i : COLOURS * (i + 1)] = in_space(image, space).transpose(2, 0, 1)
        for i, prior in enumerate(order.priors):
            row[order.colours + i] = prior_map(prior, image, inside)
    return found


def colour_scaling(normalise: str) -> tuple[np.ndarray, np.ndarray]:
    """Factor and summand (3,) that take bytes to what a network is given; see `Design.normalise`."""
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    if normalise == "half":
        mean = std = np.full(COLOURS, 0.5)
    white = 1.0 if normalise == "eyeq" else 255.0
    return 1 / (white * std), -mean / std


def scaling(design: Design) -> tuple[np.ndarray, np.ndarray]:
    """The same for all planes (C,): colours as the design says, priors to 0…1."""
    order = layout(design)
    factor, summand = colour_scaling(design.normalise)
    spaces, priors = len(order.spaces), len(order.priors)
    return (
        np.concatenate([np.tile(factor, spaces), np.full(priors, 1 / 255)]).astype(np.float32),
        np.concatenate([np.tile(summand, spaces), np.zeros(priors)]).astype(np.float32),
    )
