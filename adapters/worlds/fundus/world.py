"""Numbered photographs, with all that is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import cv2
import numpy as np

from ....errors import UsageError
from . import AXES
from .degradation import degradation, degraded_planes
from .eye import draw_anatomy, field_of_view, paint_background, paint_disc
from .lesions import paint_lesions
from .vessels import COVERED, draw, grow, paint_vessels
from .visibility import label, quality_map, visibility

_EYE, _SEVERITY, _CAMERA = 0, 101, 102
"""Streams of random numbers; the axes of degradation have their own."""
SIZES = range(64, 513)


@dataclass(frozen=True)
class Sample:
    """A photograph. Arrays are (S, S)."""

    rgb: np.ndarray
    """(S, S, 3) uint8."""
    fov: np.ndarray
    """Field of view, bool; outside of it the picture is black."""
    vessels: np.ndarray
    """bool, as are disc and lesions; all within the field of view."""
    disc: np.ndarray
    lesions: np.ndarray
    """Exudates and haemorrhages."""
    quality: np.ndarray
    """float32 in 0…1: what is left of the contrast of a vessel of typical width; 0 outside of the field of view."""
    severity: dict[str, float]
    """Of each axis, 0…1."""
    visibility: float
    """0…1: what is left of the contrast of the vessels and the disc that are there."""
    label: int
    """0 Good, 1 Usable, 2 Reject: of the visibility alone."""


def sample(seed: int, index: int, size: int = 128, severity: Mapping[str, float] | None = None) -> Sample:
    """Photograph `index` of the world `seed`, both at least 0; the same bytes in any order.

    severity: of the axes, those not named have 0; None draws it from (seed, index). It does not change the eye.
    Raises UsageError for a size outside of `SIZES`, an unknown axis, or a severity outside 0…1.
    """
    if size not in SIZES:
        raise UsageError(f"size: {size} is not between {SIZES[0]} and {SIZES[-1]} pixels")
    if severity is None:
        severity = drawn_severity(seed, index)
    fields = degradation(severity, size, seed, index)

    rng = _stream(seed, index, _EYE)
    eye = draw_anatomy(rng)
    fov = field_of_view(eye, size)
    planes = paint_background(rng, eye, size)
    disc = paint_disc(rng, eye, planes) & fov
    vessels = draw(grow(rng, eye), eye, size)
    paint_vessels(rng, vessels, planes)
    lesions = paint_lesions(rng, eye, planes) & fov
    np.clip(planes, 0, 1, out=planes)

    mask = (vessels.cover > COVERED) & fov
    seen = visibility(fields, mask, vessels.width, disc, 2 * eye.disc_radius)
    return Sample(
        rgb=_photographed(_stream(seed, index, _CAMERA), degraded_planes(planes, fov, fields), fov),
        fov=fov,
        vessels=mask,
        disc=disc,
        lesions=lesions,
        quality=quality_map(fields, fov),
        severity={axis: float(severity.get(axis, 0)) for axis in AXES},
        visibility=seen,
        label=label(seen),
    )


def drawn_severity(seed: int, index: int) -> dict[str, float]:
    """None to three axes at random (18, 42, 28, 12 %), each with a severity of the Beta distribution (1.1, 1.6)."""
    rng = _stream(seed, index, _SEVERITY)
    count = np.searchsorted((0.18, 0.60, 0.88), rng.random())
    affected = rng.permutation(len(AXES))[:count]
    values = rng.beta(1.1, 1.6, len(AXES))
    return {AXES[i]: float(values[i]) for i in affected}


def _stream(seed: int, index: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, index, stream]))


def _photographed(rng: np.random.Generator, planes: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """What a sensor with noise makes of planes, (S, S, 3) uint8; the noise has a std of 0.004 to 0.014."""
    size = planes.shape[-1]
    levels = _normal_quantiles() * np.float32(255 * rng.uniform(0.004, 0.014))
    # Eight random bytes at a time.
    steps = rng.integers(0, 2**64, -(-planes.size // 8), np.uint64).view(np.uint8)[: planes.size]
    noise = cv2.LUT(steps.reshape(3 * size, size), levels)
    flat = planes.reshape(3 * size, size) * np.float32(255)
    shown = cv2.add(flat, noise, dtype=cv2.CV_8U).reshape(planes.shape) * fov
    return cv2.merge(list(shown))


@cache
def _normal_quantiles() -> np.ndarray:
    """The standard normal distribution in 256 equally probable steps: a random byte is an index, which is twenty times
    faster than drawing the numbers."""
    values = np.array([NormalDist().inv_cdf((k + 0.5) / 256) for k in range(256)], np.float32)
    values.setflags(write=False)
    return values
