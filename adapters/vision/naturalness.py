"""Natural-scene statistics: how far the local contrast of a picture is from that of an undistorted one.

Mittal, Moorthy & Bovik 2012, "No-Reference Image Quality Assessment in the Spatial Domain" (BRISQUE). Luminance less
its local mean, over its local deviation (MSCN), is close to Gaussian noise in undistorted pictures; blur, noise and
compression change its distribution and that of the products of neighbours. Both are summed up by fitted densities.

The paper's window of 7 pixels is kept at a side of 128, and grows with the side: so the statistics are of the eye's
structures rather than of the camera's pixels.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from math import exp, lgamma

import numpy as np

UNIT_SIDE = 128
"""Side of the picture, in pixels, at which the paper's window is used as it stands."""
_C = 1.0
"""Keeps the division stable where the luminance, in 0..255, is even."""
_NOTHING = 1e-12
"""Mean squares below this are rounding."""
_GAUSSIAN = 2.0
_DIRECTIONS = {"right": (0, 1), "below": (1, 0), "diagonal": (1, 1), "antidiagonal": (1, -1)}

NAMES = tuple(
    f"naturalness.{scale}.{measure}"
    for scale in ("fine", "coarse")
    for measure in (
        "mscn.shape",
        "mscn.variance",
        *(f"{d}.{m}" for d, m in product(_DIRECTIONS, ("shape", "mean", "left_variance", "right_variance"))),
    )
)
"""What `naturalness` gives, in its order; `coarse` is the picture halved in size."""


def naturalness(luminance: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """36 fitted parameters of a picture's luminance, (S, S) in 0..255, within its field of view, (S, S) bool.

    A coefficient counts when its whole window lies in the field of view, a product when both its coefficients do; so
    the black surround plays no part. Where nothing counts, or all is even, the shape is that of a Gaussian, the rest 0.
    """
    import cv2

    side = len(luminance)
    fine = luminance.astype(np.float64)
    inside = np.where(fov, np.uint8(255), np.uint8(0))
    half = (max(side // 2, 1),) * 2
    # A halved pixel lies in the field of view when all that it is made of does.
    within = cv2.resize(inside, half, interpolation=cv2.INTER_AREA) == 255
    coarse = cv2.resize(fine, half, interpolation=cv2.INTER_AREA)
    step = side / UNIT_SIDE
    return np.array([*_statistics(fine, fov, step), *_statistics(coarse, within, step)])


def mscn(luminance: np.ndarray, step: float = 1.0) -> np.ndarray:
    """Mean-subtracted contrast-normalised coefficients, (H, W) float64, by a Gaussian window of std 7/6 · `step`.

    Outside of the picture lies its mirror image.
    """
    import cv2

    width, std = _window(step), 7 / 6 * step
    mean = cv2.GaussianBlur(luminance, (width, width), std, borderType=cv2.BORDER_REFLECT_101)
    square = cv2.GaussianBlur(luminance * luminance, (width, width), std, borderType=cv2.BORDER_REFLECT_101)
    variance = np.subtract(square, mean * mean, out=square)
    deviation = np.sqrt(np.maximum(variance, 0, out=variance), out=variance)
    coefficients: np.ndarray = (luminance - mean) / (deviation + _C)
    return coefficients


def fit_generalised(x: np.ndarray) -> tuple[float, float]:
    """(shape, variance) of the zero-mean generalised Gaussian density whose E x² and E |x| are the sample's.

    Shape 2 is a Gaussian, 1 a Laplacian. The moments' ratio is looked up in a table of shapes from 0.2 to 10.
    """
    square = _mean(x * x)
    if square < _NOTHING:
        return _GAUSSIAN, 0.0
    return _shape(_mean(np.abs(x)) ** 2 / square), square


def fit_asymmetric(x: np.ndarray) -> tuple[float, float, float, float]:
    """(shape, mean, left variance, right variance) of an asymmetric generalised Gaussian density, by moments.

    Lasmar, Stitou & Berthoumieu 2009, "Multiscale skewed heavy tailed model for texture analysis". The variances are
    the mean squares of the negative and of the other values; the mean is the density's, (β_r − β_l) Γ(2/ν) / Γ(1/ν).
    """
    squares = x * x
    square = _mean(squares)
    if square < _NOTHING:
        return _GAUSSIAN, 0.0, 0.0, 0.0
    below = int(np.count_nonzero(x < 0))
    left_sum = float(np.sum(squares * (x < 0)))
    left = left_sum / below if below else 0.0
    right = max(square * x.size - left_sum, 0.0) / (x.size - below) if below < x.size else 0.0
    sigma_l, sigma_r = left**0.5, right**0.5
    skew = (sigma_l**3 + sigma_r**3) * (sigma_l + sigma_r) / (left + right) ** 2
    shape = _shape(_mean(np.abs(x)) ** 2 / square * skew)
    spread = exp(lgamma(2 / shape) - (lgamma(1 / shape) + lgamma(3 / shape)) / 2)
    return shape, (sigma_r - sigma_l) * spread, left, right


def _statistics(luminance: np.ndarray, fov: np.ndarray, step: float) -> list[float]:
    import cv2

    width = _window(step)
    whole = np.ones((width, width), np.uint8)
    counted = cv2.erode(fov.astype(np.uint8), whole, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    coefficients = mscn(luminance, step)
    found = [*fit_generalised(coefficients[counted])]
    apart = max(round(step), 1)
    for down, right in _DIRECTIONS.values():
        here, there = _pair(down * apart), _pair(right * apart)
        a, b = (here[0], there[0]), (here[1], there[1])
        found += fit_asymmetric((coefficients[a] * coefficients[b])[counted[a] & counted[b]])
    return found


def _pair(shift: int) -> tuple[slice, slice]:
    """Where a line and the same line moved by `shift` overlap, in each of the two."""
    near, far = slice(0, -abs(shift) or None), slice(abs(shift), None)
    return (near, far) if shift >= 0 else (far, near)


def _window(step: float) -> int:
    """The odd number of pixels nearest to 7 · step."""
    return max(2 * round((7 * step - 1) / 2) + 1, 3)


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if x.size else 0.0


def _shape(ratio: float) -> float:
    """The shape whose (E |x|)² / E x² is `ratio`."""
    ratios, shapes = _table()
    return float(np.interp(ratio, ratios, shapes))


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Γ(2/a)² / (Γ(1/a) Γ(3/a)), which increases with the shape a, and a."""
    shapes = np.arange(200, 10_001) / 1000
    ratios = np.array([exp(2 * lgamma(2 / a) - lgamma(1 / a) - lgamma(3 / a)) for a in shapes])
    return ratios, shapes
