"""Random geometry of training images. All planes of an image are moved together.

The moves of an epoch are drawn for all images at once, on the CPU, so that an image's does not depend on the batch
that it is in or on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample

from .params import Augment


@dataclass(frozen=True)
class Moves:
    """How images are moved, one row each."""

    flips: np.ndarray
    """(n, 2), bool: left-right, up-down; done first."""
    affine: np.ndarray | None
    """(n, 2, 3), float32: from a place in the result to one in the image, both in −1…1; None when nothing turns."""

    def of(self, rows: np.ndarray) -> Moves:
        """Those of some images."""
        return Moves(self.flips[rows], None if self.affine is None else self.affine[rows])


def draw(augment: Augment, images: int, generator: np.random.Generator) -> Moves:
    """Moves of so many images: angle and share of the area uniform, the crop anywhere in the turned image."""
    flips = (generator.random((images, 2)) < 0.5) & augment.flip
    angle = np.radians(augment.rotate) * generator.uniform(-1, 1, images)
    side = np.sqrt(generator.uniform(augment.crop, 1, images))
    centre = generator.uniform(-1, 1, (images, 2)) * (1 - side)[:, None]
    if augment.rotate == 0 and augment.crop == 1:
        return Moves(flips, None)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    return Moves(flips, np.concatenate([turn * side[:, None, None], turn @ centre[:, :, None]], 2).astype(np.float32))


def move(planes: torch.Tensor, moves: Moves) -> torch.Tensor:
    """Planes (n, C, S, S), moved: bytes as they were when they are only flipped, else floats 0…255, interpolated
    bilinearly and black beyond the image's rim."""
    horizontal, vertical = torch.from_numpy(moves.flips).to(planes.device).T[:, :, None, None, None]
    planes = torch.where(horizontal, planes.flip(3), planes)
    planes = torch.where(vertical, planes.flip(2), planes)
    if moves.affine is None:
        return planes
    places = affine_grid(torch.from_numpy(moves.affine).to(planes.device), list(planes.shape), align_corners=False)
    return grid_sample(planes.float(), places, mode="bilinear", padding_mode="zeros", align_corners=False)
