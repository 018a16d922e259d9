"""Exudates and haemorrhages: they look like flaws of a photograph and are none, so a good grader must not mind them."""

from __future__ import annotations

import numpy as np

from .eye import Anatomy
from .grid import dots

_EDGE = 0.004


def paint_lesions(rng: np.random.Generator, eye: Anatomy, planes: np.ndarray) -> np.ndarray:
    """Paint the lesions of an eye over the planes; gives their pixels, (S, S) bool.

    Bright, clustered exudates near the macula in 45 % of eyes, dark haemorrhages anywhere in 35 %.
    """
    size = planes.shape[-1]
    mask = np.zeros((size, size), bool)
    if rng.random() < 0.45:
        cover = dots(*_exudates(rng, eye), _EDGE, size)
        bright = np.minimum(eye.colour + np.array([0.22, 0.38, 0.18], np.float32), 1)
        planes += np.float32(0.85) * cover * (bright[:, None, None] - planes)
        mask |= cover > 0.4
    if rng.random() < 0.35:
        cover = dots(*_haemorrhages(rng, eye), _EDGE, size)
        planes *= 1 - np.array([0.35, 0.55, 0.45], np.float32)[:, None, None] * cover
        mask |= cover > 0.4
    return mask


def _exudates(rng: np.random.Generator, eye: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, 2) and radii (N,) of dots in one to three clusters around the macula."""
    counts = rng.integers(3, 16, rng.integers(1, 4))
    middles = eye.macula + rng.normal(0, 2.0 * eye.disc_radius, (len(counts), 2))
    total = int(counts.sum())
    places = np.repeat(middles, counts, axis=0) + rng.normal(0, 0.5 * eye.disc_radius, (total, 2))
    radii = rng.choice([0.06, 0.1, 0.16, 0.28], total, p=[0.4, 0.3, 0.2, 0.1])
    return places, radii * eye.disc_radius


def _haemorrhages(rng: np.random.Generator, eye: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, 2) and radii (N,) of dots and blots anywhere."""
    count = int(rng.integers(3, 20))
    return eye.centre + rng.normal(0, 0.4 * eye.radius, (count, 2)), eye.disc_radius * rng.uniform(0.05, 0.22, count)
