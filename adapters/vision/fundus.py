"""The field of view of a fundus photograph: the round window on black through which the retina is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...errors import DataError

OPENING = 20
"""Side of the square that the foreground must hold, in pixels of the half-size picture, as published; of pictures
below 200 pixels a fifth of the half, which would otherwise lose their disc."""
SMALLEST = 32
"""Least width and height, in pixels."""
DARK = 0.25
"""The surround is at most this share as bright as the field of view, both measured from the darkest pixel. Fundus
photographs have 0 to 0.03, with strong faults of illumination up to 0.2; scenes that fill the frame 0.3 and more."""


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """A circle, cut off where the frame ends; pixels of the picture."""

    bbox: tuple[int, int, int, int]
    """Top, left, height, width."""
    centre: tuple[float, float]
    """Row, column."""
    radius: int
    mask: np.ndarray
    """(H, W); false beyond the box, which is a pixel smaller than the circle each way, as published."""


@dataclass(frozen=True)
class _Circle:
    row: float
    column: float
    radius: int

    def drawn(self, shape: tuple[int, ...]) -> np.ndarray:
        import cv2

        blank = np.zeros(shape[:2], np.uint8)
        return cv2.circle(blank, (int(self.column), int(self.row)), self.radius, 1, -1).astype(bool)


def field_of_view(rgb: np.ndarray) -> FieldOfView:
    """Where the retina is seen in a photograph (H, W, 3), with the geometry of EyeQ's preprocessing (Fu et al. 2019).

    The picture at half its size is cut at a third of its mean brightness, less 5 of 255 levels. Where that gives no
    disc, as in very dark pictures with a noisy surround, it is smoothed and cut just above its four corners.

    Raises DataError when neither gives a disc with a dark surround: the picture is uniform, a scene, or a fundus
    photograph that was cut out of its field of view.
    """
    import cv2

    height, width = rgb.shape[:2]
    if min(height, width) < SMALLEST:
        raise DataError(f"no field of view found in {width} × {height} pixels; it takes {SMALLEST} each way")
    grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_LINEAR)
    for levels, threshold in _cuts(grey):
        half = _circle(_foreground(levels, threshold))
        if half is not None and _surrounded(levels, half):
            break
    else:
        raise DataError("no field of view found: there is no bright disc on a dark surround; `crop: none` does without")
    circle = _Circle(2 * half.row, 2 * half.column, 2 * half.radius)
    top, left = (max(0, int(at - circle.radius)) for at in (circle.row, circle.column))
    bbox = (top, left, min(height - top, 2 * circle.radius), min(width - left, 2 * circle.radius))
    mask = np.zeros((height, width), bool)
    mask[_slices(bbox)] = circle.drawn(rgb.shape)[_slices(bbox)]
    return FieldOfView(bbox, (circle.row, circle.column), circle.radius, mask)


def _cuts(grey: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """The picture stretched to 0…255, and the level above which it is foreground; the published way first."""
    import cv2

    levels = _stretched(grey)
    yield levels, max(0.0, float(levels.mean()) / 3 - 5)
    levels = _stretched(cv2.medianBlur(grey, 5))
    side = max(3, round(min(grey.shape) / 20))
    ends = (slice(side), slice(-side, None))
    corners = np.stack([levels[rows, columns] for rows in ends for columns in ends])
    yield levels, float(np.quantile(corners, 0.95)) + 5


def _stretched(grey: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.normalize(grey, None, 0, 255, cv2.NORM_MINMAX)


def _foreground(levels: np.ndarray, threshold: float) -> np.ndarray:
    """1 where the picture is brighter, and where it is darker but not joined to the top left or bottom right corner;
    without what is narrower than OPENING."""
    import cv2

    dark = (levels <= threshold).astype(np.uint8)
    _, regions = cv2.connectedComponents(dark, connectivity=4)
    surround = (dark > 0) & np.isin(regions, (regions[0, 0], regions[-1, -1]))
    side = min(OPENING, min(levels.shape) // 5)
    return cv2.morphologyEx((~surround).astype(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8))


def _circle(foreground: np.ndarray) -> _Circle | None:
    """The centre of the fullest rows and columns; the distance at which most of the foreground's edge lies."""
    import cv2

    side = max(foreground.shape[1] // 400 * 2 + 1, 3)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    rows, columns = np.nonzero(cv2.morphologyEx(foreground, cv2.MORPH_GRADIENT, kernel))
    if not rows.size:
        return None
    counts = foreground.sum(axis=1, dtype=np.int64), foreground.sum(axis=0, dtype=np.int64)
    row, column = (float(np.flatnonzero(count > 0.95 * count.max()).mean()) for count in counts)
    edge = np.bincount(np.ceil(np.hypot(rows - row, columns - column)).astype(int))
    return _Circle(row, column, int(np.flatnonzero(edge > 0.995 * edge.max())[-1]))


def _surrounded(levels: np.ndarray, circle: _Circle) -> bool:
    inside = circle.drawn(levels.shape)
    return not inside.all() and float(levels[~inside].mean()) <= DARK * float(levels[inside].mean())


def prepared(rgb: np.ndarray, crop: Literal["field_of_view", "none"]) -> tuple[np.ndarray, np.ndarray]:
    """A photograph as a square (S, S, 3), black around what counts, and where that is, (S, S).

    `field_of_view`: what lies outside is made black and cut off. `none`: the whole frame counts. Raises DataError as
    `field_of_view` does.
    """
    if crop == "none":
        return _square(rgb), _square(np.ones(rgb.shape[:2], bool))
    found = field_of_view(rgb)
    box = _slices(found.bbox)
    inside = found.mask[box]
    return _square(np.where(inside[..., None], rgb[box], np.uint8(0))), _square(inside)


def _slices(bbox: tuple[int, int, int, int]) -> tuple[slice, slice]:
    top, left, height, width = bbox
    return slice(top, top + height), slice(left, left + width)


def _square(values: np.ndarray) -> np.ndarray:
    """In the middle of a square of zeros; one that does not fit evenly stands half a pixel up or left."""
    height, width = values.shape[:2]
    side = max(height, width)
    before = (side - height) // 2, (side - width) // 2
    around = [(before[0], side - height - before[0]), (before[1], side - width - before[1])]
    return np.pad(values, around + [(0, 0)] * (values.ndim - 2))


def resized(rgb: np.ndarray, fov: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A square picture and its field of view at another size, in pixels a side: (size, size, 3) and (size, size).

    Shrinking averages over areas, enlarging is bilinear; a pixel is in the field of view when half of it is.
    """
    import cv2

    how = cv2.INTER_AREA if size < rgb.shape[0] else cv2.INTER_LINEAR
    shares = cv2.resize(fov.astype(np.uint8) * np.uint8(255), (size, size), interpolation=how)
    return cv2.resize(rgb, (size, size), interpolation=how).astype(np.uint8), shares >= 128
