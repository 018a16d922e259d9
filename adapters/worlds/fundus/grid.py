"""Pixels of a square picture, and smooth fields on them. All arrays are float32."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

_FRACTION_BITS = 4
"""Of OpenCV's fixed-point coordinates."""


@cache
def centres(size: int) -> np.ndarray:
    """Where the centres of a row's pixels are, (S,), read-only."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / np.float32(size)
    at.setflags(write=False)
    return at


def squared_distance(point: tuple[float, float], size: int) -> np.ndarray:
    """Squared distance of every pixel from a point, (S, S)."""
    x, y = np.square(centres(size) - np.float32(point[0])), np.square(centres(size) - np.float32(point[1]))
    return y[:, None] + x


def bump(point: tuple[float, float], std: float, size: int) -> np.ndarray:
    """exp(−d² / 2 std²) of the distance d from a point, (S, S)."""
    x, y = (np.exp(-np.square(centres(size) - np.float32(p)) / np.float32(2 * std * std)) for p in point)
    return y[:, None] * x


def smooth(values: np.ndarray, size: int) -> np.ndarray:
    """A field through a coarse grid of values, by cubic interpolation, (S, S)."""
    return cv2.resize(values.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def dots(places: np.ndarray, radii: np.ndarray, softness: float, size: int) -> np.ndarray:
    """Share of each pixel that discs at places (N, 2) cover, with a Gaussian edge, (S, S) in 0…1."""
    canvas = np.zeros((size, size), np.uint8)
    scale = size << _FRACTION_BITS
    middles = np.rint(places * scale - (1 << _FRACTION_BITS) / 2).astype(int).tolist()
    for middle, radius in zip(middles, np.rint(radii * scale).astype(int).tolist(), strict=True):
        cv2.circle(canvas, middle, radius, 255, -1, cv2.LINE_AA, _FRACTION_BITS)
    return cv2.GaussianBlur(canvas * np.float32(1 / 255), (0, 0), softness * size)
