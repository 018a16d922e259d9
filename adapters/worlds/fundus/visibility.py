"""How much of the contrast of known structures is left in a degraded photograph, in closed form, and the label by it.

At every pixel the share that is left is a product: of what blur leaves of a structure of this width, of what the dark
leaves above the noise, and of what the veils let through. Nothing is measured on the picture, so a grader that filters
pictures has no part in the truth that it is compared with. See docs/fundus.md.
"""

from __future__ import annotations

import numpy as np

from .degradation import Blur, Fields

REFERENCE_WIDTH = 0.0136
"""Median width of a vessel at the pixels of vessels, a share of the picture's side."""
FLOOR = 0.5
"""κ: the contrast that can just be told from noise, relative to that of a vessel in full light. Rose (1948) asks for
five times the noise, whose standard deviation is up to 0.014 here; green contrast is 0.10 to 0.19 in most eyes."""
GOOD, USABLE = 0.82, 0.55
"""Least visibility of a label."""

_WIDTH_OF_STD = 2 * np.sqrt(2 * np.log(2))
"""Width at half height of a Gaussian, in standard deviations."""


def effective_variance(blur: Blur) -> float:
    """Variance of a blur along one direction, averaged over directions: std² + L² / 24.

    A box of length L has the variance L²/12 along its direction and none across; a vessel lies in any direction.
    """
    return blur.std**2 + blur.movement**2 / 24


def line_share(width: np.ndarray | float, variance: float) -> np.ndarray:
    """Share of the peak of a line that a blur leaves: s / √(s² + variance).

    The line has a Gaussian profile of `width` at half height, so a standard deviation s = width / 2.355. Blurred, its
    profile has the variance s² + variance; its area stays, so its peak falls as its standard deviation rises.
    """
    square = np.square(np.float32(1 / _WIDTH_OF_STD) * width)
    return np.sqrt(square / (square + np.float32(variance)))


def blob_share(width: float, variance: float) -> float:
    """The same of a round blob, which spreads in two directions: s² / (s² + variance)."""
    square = (width / _WIDTH_OF_STD) ** 2
    return float(square / (square + variance))


def light_share(gain: np.ndarray) -> np.ndarray:
    """Share of what can be told from noise at a gain g, relative to full light: g (1 + κ) / (g + κ).

    Contrast falls with the light, the noise of the sensor does not; the response to contrast over noise saturates
    (Naka & Rushton 1966), with κ of `FLOOR` as its half-way point.
    """
    return gain * np.float32(1 + FLOOR) / (gain + np.float32(FLOOR))


def let_through(fields: Fields) -> np.ndarray:
    """What light and veils leave at each pixel, (S, S) or (1, 1) float32 in 0…1."""
    share = light_share(fields.gain)
    for veil in fields.veils:
        share = share * (1 - veil.opacity)
    return share


def quality_map(fields: Fields, fov: np.ndarray) -> np.ndarray:
    """What would be left at each pixel of a vessel of the reference width, (S, S) float32; 0 outside of the field."""
    return let_through(fields) * line_share(REFERENCE_WIDTH, effective_variance(fields.blur)) * fov


def visibility(fields: Fields, vessels: np.ndarray, widths: np.ndarray, disc: np.ndarray, disc_width: float) -> float:
    """½ the mean over pixels of vessels + ¼ their lower quartile + ¼ the mean over pixels of the disc, in 0…1.

    vessels, disc: (S, S) bool; widths: (S, S), of the vessel at each pixel; disc_width: diameter.
    """
    through = np.broadcast_to(let_through(fields), vessels.shape)
    variance = effective_variance(fields.blur)
    seen = through[vessels] * line_share(widths[vessels], variance)
    quartile = np.partition(seen, len(seen) // 4)[len(seen) // 4]
    return float(0.5 * seen.mean() + 0.25 * quartile + 0.25 * through[disc].mean() * blob_share(disc_width, variance))


def label(visible: float) -> int:
    """0 Good, 1 Usable, 2 Reject."""
    return 0 if visible >= GOOD else 1 if visible >= USABLE else 2
