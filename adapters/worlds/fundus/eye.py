"""The eye: where its parts are, its background with the macula, and the optic disc."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .grid import bump, centres, smooth, squared_distance

Point = tuple[float, float]


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of an eye are."""

    centre: Point
    radius: float
    """Of the field of view."""
    disc: Point
    disc_radius: float
    macula: Point
    temporal: int
    """1: the temple is to the right of the picture (a left eye), −1: to the left."""
    colour: np.ndarray
    """Of the background, (3,)."""


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """An eye at random: a disc nasal of the centre, and a macula 4.3 to 5.2 disc radii from it."""
    radius = rng.uniform(0.455, 0.485)
    x, y = 0.5 + rng.normal(0, 0.006, 2)
    temporal = 1 if rng.random() < 0.5 else -1
    disc_radius = radius * rng.uniform(0.14, 0.19)
    disc = (x - temporal * radius * rng.uniform(0.42, 0.58), y + radius * rng.normal(0, 0.05))
    away, below = disc_radius * rng.uniform((4.3, 0.0), (5.2, 0.5))
    macula = (disc[0] + temporal * away, disc[1] + below)
    red = rng.uniform(0.55, 0.86)
    green = red * rng.uniform(0.42, 0.60)
    colour = np.array([red, green, green * rng.uniform(0.3, 0.6)], np.float32)
    return Anatomy((x, y), radius, disc, disc_radius, macula, temporal, colour)


def field_of_view(eye: Anatomy, size: int) -> np.ndarray:
    """The pixels that the camera sees, (S, S) bool."""
    return squared_distance(eye.centre, size) <= np.float32(eye.radius**2)


def paint_background(rng: np.random.Generator, eye: Anatomy, size: int) -> np.ndarray:
    """Planes of the retina without vessels or disc: mottled, darker to the rim and at the macula."""
    rim, dip, spread = rng.uniform((0.05, 0.15, 0.8), (0.30, 0.40, 1.2))
    fine, coarse = rng.uniform((0.005, 0.01), (0.02, 0.04))
    mottle = fine * rng.standard_normal((24, 24)) + coarse * smooth(rng.standard_normal((5, 5)), 24)
    shade = squared_distance(eye.centre, size)
    shade *= np.float32(-rim / eye.radius**2)
    shade += smooth(1 + mottle, size)
    shade *= 1 - np.float32(dip) * bump(eye.macula, spread * eye.disc_radius, size)
    return eye.colour[:, None, None] * shade


def paint_disc(rng: np.random.Generator, eye: Anatomy, planes: np.ndarray) -> np.ndarray:
    """Paint the optic disc, a soft-edged ellipse with a paler cup, over the planes; gives its pixels, (S, S) bool."""
    size = planes.shape[-1]
    stretch, edge, cup, strength = rng.uniform((0.9, 8, 0.35, 0.7), (1.1, 22, 0.6, 1.2))
    # The soft edge has faded to under 1 % at 1.6 radii, so nothing has to be computed beyond.
    columns, rows = (_near(p, 1.6 * eye.disc_radius, size) for p in eye.disc)
    x = (centres(size)[columns] - eye.disc[0]) * (stretch / eye.disc_radius)
    y = (centres(size)[rows] - eye.disc[1]) / (stretch * eye.disc_radius)
    distance = np.sqrt(np.square(y)[:, None] + np.square(x)).astype(np.float32)
    opacity = 1 / (1 + np.exp((distance - 1) * np.float32(edge)))
    pale = np.minimum(eye.colour + np.float32(strength) * np.array([0.16, 0.30, 0.22], np.float32), 1)
    paler = np.exp(-np.square(np.square(distance / np.float32(cup)))) * opacity
    patch = planes[:, rows, columns]
    patch += opacity * (pale[:, None, None] - patch)
    patch += paler * np.array([0.06, 0.10, 0.10], np.float32)[:, None, None]
    mask = np.zeros((size, size), bool)
    mask[rows, columns] = distance <= 1
    return mask


def _near(at: float, reach: float, size: int) -> slice:
    """Pixels of a row within reach of a place."""
    return slice(max(int((at - reach) * size), 0), int((at + reach) * size) + 1)
