"""What makes a photograph bad: uneven light, blur, haze and spots, each with a severity from 0 to 1.

A picture c becomes, in this order,

    blurred · gain, then for each veil (haze, halo, spots):  x · (1 − opacity) + colour · opacity

with gain and opacity known at every pixel. Gain and opacity are at most 1 and colours in 0…1, so a picture in 0…1 stays
there and nothing saturates. Where a hole is, which way a movement went, where the spots lie depends on the seed, the
number of the photograph and the axis alone: with more severity, the same thing gets worse. The kinds of degradation are
those of Shen et al. 2020 (CoFE-Net, "Modeling and enhancing low-quality retinal fundus images").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from ....errors import UsageError, unknown
from . import AXES
from .grid import bump, centres, dots, smooth

_STREAMS = {axis: number for number, axis in enumerate(AXES, start=1)}


@dataclass(frozen=True)
class Blur:
    """A Gaussian, and the box of a movement during exposure. Lengths are shares of the picture's side."""

    std: float = 0.0
    movement: float = 0.0
    """Length of the box."""
    direction: float = 0.0
    """Radians."""


@dataclass(frozen=True)
class Veil:
    """Something of one colour that lies over the picture."""

    opacity: np.ndarray
    """(S, S) float32 in 0…1."""
    colour: np.ndarray
    """(3,) in 0…1."""


@dataclass(frozen=True)
class Fields:
    """All that happens to a photograph."""

    blur: Blur
    gain: np.ndarray
    """(S, S) float32 in 0…1, or (1, 1) where it is the same everywhere."""
    veils: tuple[Veil, ...]


def degradation(severity: Mapping[str, float], size: int, seed: int, index: int) -> Fields:
    """What severities do to photograph `index` of `size` pixels a side; an axis that is not named has none.

    Raises UsageError for an unknown axis, and for a severity outside 0…1.
    """
    for axis, value in severity.items():
        if axis not in AXES:
            raise UsageError(unknown("axis of degradation", axis, AXES))
        if not 0 <= value <= 1:
            raise UsageError(f"severity of {axis}: {value} is not between 0 and 1")

    def stream(axis: str) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([seed, index, _STREAMS[axis]]))

    def has(axis: str) -> bool:
        return severity.get(axis, 0) > 0

    blur = _blur(stream("blur"), severity["blur"]) if has("blur") else Blur()
    gain = np.ones((1, 1), np.float32)
    veils: list[Veil] = []
    if has("haze"):
        veils.append(_haze(stream("haze"), severity["haze"], size))
    if has("illumination"):
        light = _illumination(stream("illumination"), severity["illumination"], size)
        if isinstance(light, Veil):
            veils.append(light)
        else:
            gain = light
    if has("artefacts"):
        veils.append(_artefacts(stream("artefacts"), severity["artefacts"], size))
    return Fields(blur, gain, tuple(veils))


def _illumination(rng: np.random.Generator, severity: float, size: int) -> np.ndarray | Veil:
    """A dark hole or a dark side (a gain), or a bright halo at the rim (a veil), a third each."""
    kind, angle = rng.integers(3), rng.uniform(0, 2 * np.pi)
    x, y = rng.uniform(0.25, 0.75, 2)
    spread, warmth = rng.random(2)
    if kind == 0:
        return 1 - np.float32(0.95 * severity) * bump((x, y), 0.18 + 0.18 * spread, size)
    if kind == 1:
        along = centres(size) - np.float32(0.5)
        side = along[:, None] * np.float32(np.sin(angle)) + along * np.float32(np.cos(angle)) + np.float32(0.65)
        return 1 - np.float32(0.97 * severity) * np.clip(np.float32(1.6) * side, 0, 1)
    place = (0.5 + 0.42 * np.cos(angle), 0.5 + 0.42 * np.sin(angle))
    opacity = np.float32(0.95 * severity) * bump(place, 0.16 + 0.18 * spread, size)
    return Veil(opacity, np.array([0.98, 0.97 - 0.12 * warmth, 0.96 - 0.4 * warmth], np.float32))


def _blur(rng: np.random.Generator, severity: float) -> Blur:
    """Defocus with a std of up to 2 % of the side; in 30 % of pictures a movement of four times that length instead."""
    std, moved, direction = 0.02 * severity, rng.random() < 0.3, rng.uniform(0, np.pi)
    return Blur(0.4 * std, 4 * std, direction) if moved else Blur(std)


def _haze(rng: np.random.Generator, severity: float, size: int) -> Veil:
    """A cloudy veil over all, of opacity 0.74 on average, at most 1, times 0.85 of the severity."""
    cloud = np.clip(smooth(0.75 + 0.4 * rng.uniform(-1, 1, (4, 4)), size), 0, 1)
    colour = rng.uniform((0.5, 0.4, 0.3), (0.75, 0.6, 0.5)).astype(np.float32)
    return Veil(cloud * np.float32(0.85 * severity), colour)


def _artefacts(rng: np.random.Generator, severity: float, size: int) -> Veil:
    """Out-of-focus spots of dust or reflections, dark or bright; more and larger ones with more severity."""
    most, opacity = int(rng.integers(16, 41)), rng.uniform(0.5, 0.95)
    tone = float(rng.choice([0.05, 0.7, 0.95]))
    places, sizes = rng.uniform(0.1, 0.9, (most, 2)), rng.random(most)
    count = int(np.ceil(severity * most))
    radii = 0.01 + sizes * (0.02 + 0.05 * severity)
    cover = dots(places[:count], radii[:count], 0.012, size)
    return Veil(cover * np.float32(opacity), np.array([tone, 0.95 * tone, 0.85 * tone], np.float32))


def degraded(rgb: np.ndarray, fov: np.ndarray, fields: Fields) -> np.ndarray:
    """A photograph made worse, (S, S, 3) float32 in 0…1, 0 outside of the field of view.

    rgb: any square photograph in 0…1; fov: (S, S) bool; fields: of the same size.
    """
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32)
    return np.ascontiguousarray(degraded_planes(planes, fov, fields).transpose(1, 2, 0)) * fov[..., None]


def degraded_planes(planes: np.ndarray, fov: np.ndarray, fields: Fields) -> np.ndarray:
    """The same of planes, but that nothing is said of what is outside of the field of view."""
    x = blurred(planes, fov, fields.blur) * fields.gain
    for veil in fields.veils:
        x *= 1 - veil.opacity
        x += veil.colour[:, None, None] * veil.opacity
    return x


def blurred(planes: np.ndarray, fov: np.ndarray, blur: Blur) -> np.ndarray:
    """Planes out of focus. The mean at a pixel is over the field of view alone: the black around it is no light that
    came from the eye."""
    if blur.std == blur.movement == 0:
        return planes
    inside = fov.astype(np.float32)
    weight = np.maximum(_spread(inside, blur), np.float32(1e-3))
    return np.stack([_spread(plane * inside, blur) / weight for plane in planes])


def _spread(plane: np.ndarray, blur: Blur) -> np.ndarray:
    """One plane, blurred; beyond the picture is nothing."""
    size = plane.shape[-1]
    if blur.movement:
        plane = cv2.filter2D(plane, -1, _box(blur.movement * size, blur.direction), borderType=cv2.BORDER_CONSTANT)
    return cv2.GaussianBlur(plane, (0, 0), blur.std * size, borderType=cv2.BORDER_CONSTANT)


def _box(length: float, direction: float) -> np.ndarray:
    """Weights of a line of `length` pixels through the middle of a window; they add up to 1."""
    half = int(np.ceil(length / 2))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    along, across = x * np.cos(direction) + y * np.sin(direction), y * np.cos(direction) - x * np.sin(direction)
    weights = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, None)
    return (weights / weights.sum()).astype(np.float32)
