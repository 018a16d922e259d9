"""The vessels: two arcades around the macula, smaller trunks, and what branches off from them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .eye import Anatomy
from .grid import bump

WIDEST = 0.032
"""Nothing is wider."""
THINNEST = 0.0055
"""No branch begins thinner; it tapers from there."""
COVERED = 0.35
"""A pixel counts as vessel when a vessel covers more than this share of it."""

_STEPS = 3
"""Straight lines in a piece of vessel; the piece has one width."""
_TRUNK_PIECES, _BRANCH_PIECES = 4, 2
_HALVINGS = 2
"""Vessels are drawn on a canvas of 2² times the side, and averaged down by halving, which OpenCV does seven times as
fast as the same in one step."""

# Heading in degrees from the direction of the temple, turn on the way in degrees, length in radii of the field of
# view, and width relative to the widest; vein and artery of both arcades, the nasal trunks, small ones.
_TRUNKS = np.array(
    [
        (-66, 78, 1.55, 1.0),
        (-84, 92, 1.35, 0.72),
        (66, -78, 1.55, 1.0),
        (84, -92, 1.35, 0.72),
        (-128, -18, 0.85, 0.78),
        (128, 18, 0.85, 0.78),
        (-165, 0, 0.55, 0.42),
        (160, 0, 0.55, 0.42),
        (-28, 12, 0.50, 0.36),
        (28, -12, 0.50, 0.36),
    ]
).T
_SLOTS = ((4, 0.75), (2, 0.6))
"""For branches and for theirs: places on a vessel where one may begin, and the chance that one does."""


@dataclass(frozen=True)
class Tree:
    """Vessels as polylines. All arrays begin with (M,), the number of vessels."""

    points: np.ndarray
    """(M, P), x + iy."""
    headings: np.ndarray
    """(M, P), radians."""
    widths: np.ndarray
    """(M, P)."""
    lengths: np.ndarray

    def pieces(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, steps + 1) and widths (N,) of the pieces of all vessels."""
        starts = np.arange(0, self.points.shape[1] - 1, _STEPS)
        points = self.points[:, starts[:, None] + np.arange(_STEPS + 1)]
        return points.reshape(-1, _STEPS + 1), self.widths[:, starts + 1].ravel()


@dataclass(frozen=True)
class Vessels:
    """Vessels on a picture, both (S, S) float32."""

    cover: np.ndarray
    """Share of the pixel that is vessel."""
    width: np.ndarray
    """Mean width of what covers the pixel; 0 where nothing does."""


def grow(rng: np.random.Generator, eye: Anatomy) -> list[Tree]:
    """Trunks, their branches, and the branches of these."""
    heading, turn, length, width = _TRUNKS
    count = len(heading)
    heading = np.radians(heading + rng.normal(0, 7, count))
    turn = np.radians(turn * rng.uniform(0.75, 1.25, count))
    length = length * eye.radius * rng.uniform(0.9, 1.1, count)
    width = width * rng.uniform(0.020, 0.025) * rng.uniform(0.9, 1.1, count)
    if eye.temporal < 0:
        heading, turn = np.pi - heading, -turn
    start = complex(*eye.disc) + 0.15 * eye.disc_radius * (rng.standard_normal((count, 2)) @ (1, 1j))
    trees = [_paths(rng, _TRUNK_PIECES, start, heading, turn, length, width)]
    for slots, chance in _SLOTS:
        trees.append(_branches(rng, trees[-1], slots, chance))
    return trees


def _paths(
    rng: np.random.Generator,
    pieces: int,
    start: np.ndarray,
    heading: np.ndarray,
    turn: np.ndarray,
    length: np.ndarray,
    width: np.ndarray,
) -> Tree:
    """Wiggling arcs that taper to 60 % of their width."""
    steps = pieces * _STEPS
    along = np.arange(steps + 1) / steps
    wiggle = rng.normal(0, 0.09, (len(start), steps + 1)).cumsum(1)
    angles = heading[:, None] + turn[:, None] * along + wiggle
    moves = np.exp(1j * angles) * (length / steps)[:, None]
    points = start[:, None] + moves.cumsum(1) - moves[:, :1]
    return Tree(points, angles, width[:, None] * (1 - 0.4 * along), length)


def _branches(rng: np.random.Generator, parents: Tree, slots: int, chance: float) -> Tree:
    """Thinner and shorter vessels that leave their parents sideways, spread over their length."""
    vessels, points = parents.points.shape
    parent, slot = np.divmod(np.arange(vessels * slots), slots)
    draws = rng.random((7, vessels * slots))
    at = 0.12 + 0.8 * (slot + draws[0]) / slots
    here = parent * points + (at * (points - 1)).astype(int)
    width = parents.widths.ravel()[here] * (0.5 + 0.28 * draws[1])
    kept = np.flatnonzero((draws[2] < chance) & (width > THINNEST))
    off, back, side, shorter = draws[3:, kept]
    side, here = np.copysign(1, side - 0.5), here[kept]
    heading = parents.headings.ravel()[here] + side * (0.4 + 0.5 * off)
    length = parents.lengths[parent[kept]] * (0.28 + 0.32 * shorter) * (1 - 0.5 * at[kept])
    return _paths(rng, _BRANCH_PIECES, parents.points.ravel()[here], heading, -0.6 * side * back, length, width[kept])


def draw(trees: list[Tree], eye: Anatomy, size: int) -> Vessels:
    """Vessels on the pixels. The fovea has none."""
    side = size << _HALVINGS
    points, widths = (np.concatenate(parts) for parts in zip(*(tree.pieces() for tree in trees), strict=True))
    pieces = np.rint(points.view(float).reshape(*points.shape, 2) * side - 0.5).astype(np.int32)
    # OpenCV draws a line of even thickness 2 n, or 1 for n = 0, about 2 n + 1 pixels wide (measured: 0.95).
    beside = np.rint((widths * side - 1) / 2).astype(int)
    canvas = np.zeros((side, side), np.uint8)
    # The canvas holds widths; where vessels cross, the wider one's.
    for n in np.unique(beside).tolist():
        code = 255 * (2 * n + 1) / (WIDEST * side)
        cv2.polylines(canvas, pieces[beside == n], False, code, max(2 * n, 1))
    cover = _averaged(cv2.threshold(canvas, 0, 255, cv2.THRESH_BINARY)[1])
    width = _averaged(canvas) / np.maximum(cover, np.float32(1 / 255)) * np.float32(WIDEST)
    cover *= 1 - bump(eye.macula, 0.5 * eye.disc_radius, size)
    return Vessels(cover, width)


def _averaged(canvas: np.ndarray) -> np.ndarray:
    """Means over subpixels, in 0…1."""
    for _ in range(_HALVINGS):
        side = canvas.shape[0] // 2
        canvas = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    return canvas * np.float32(1 / 255)


def paint_vessels(rng: np.random.Generator, vessels: Vessels, planes: np.ndarray) -> None:
    """Darken the planes where vessels are, green most: blood absorbs it."""
    depth = np.array([0.28, 0.55, 0.40], np.float32) * np.float32(rng.uniform(0.55, 1.0))
    planes *= 1 - depth[:, None, None] * vessels.cover
