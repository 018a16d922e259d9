"""Measures of a picture that need no learning: what a grader of retinal photographs looks for, in numbers.

All lengths are relative to the side of the picture, and written as pixels of one of 128: photographs of one eye in two
sizes give like numbers. Only pixels of the field of view count, and its black surround touches none of them: windows
that reach over its edge are left out, or filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from ...errors import DataError
from . import naturalness
from .params import FeatureGroup

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_MAPS = tuple(product(("vessels", "large"), ("fine", "coarse")))
_STRENGTH = ("mean", "std", "p95", "share", "evenness")
_NAMES: Mapping[FeatureGroup, tuple[str, ...]] = {
    "naturalness": naturalness.NAMES,
    "structure": tuple(f"structure.{a}.{b}.{c}" for (a, b), c in product(_MAPS, _STRENGTH)),
    "sharpness": ("sharpness.laplacian", "sharpness.gradient", "sharpness.high_to_middle"),
    "illumination": tuple(
        f"illumination.{name}"
        for name in (
            "mean",
            "std",
            "p5",
            "p95",
            "unevenness",
            "underexposed",
            "overexposed",
            "dark_channel",
            "bright_channel",
        )
    ),
    "colour": (
        *(f"colour.{channel}.{moment}" for channel, moment in product(("red", "green", "blue"), ("mean", "std"))),
        "colour.saturation.mean",
        "colour.saturation.std",
        "colour.hue_concentration",
    ),
}


@dataclass(frozen=True)
class _Picture:
    """A square photograph, and the part of it that shows the eye."""

    rgb: np.ndarray
    """(S, S, 3) uint8."""
    fov: np.ndarray
    """(S, S) bool, somewhere true."""

    @cached_property
    def luminance(self) -> np.ndarray:
        """(S, S) float32 in 0…255, Rec. 601."""
        import cv2

        return cv2.transform(self.rgb.astype(np.float32), _LUMINANCE[None])

    @cached_property
    def mask(self) -> np.ndarray:
        """The field of view as OpenCV wants it: (S, S) uint8, 1 inside."""
        return self.fov.astype(np.uint8)

    @cached_property
    def quadrants(self) -> tuple[tuple[slice, slice], ...]:
        """The four quarters about the centre of mass of the field of view, those that have a part of it."""
        import cv2

        moments = cv2.moments(self.mask, binaryImage=True)
        row, column = (int(moments[m] / moments["m00"]) + 1 for m in ("m01", "m10"))
        parts = product((slice(row), slice(row, None)), (slice(column), slice(column, None)))
        return tuple(part for part in parts if self.fov[part].any())

    @cached_property
    def small(self) -> _Picture:
        """The picture at a side of 128 at most, for what is coarse anyhow."""
        return self.reduced(naturalness.UNIT_SIDE)

    def reduced(self, side: int) -> _Picture:
        """The picture at a side of at most this: each pixel is the mean of those that it is made of and lie inside."""
        import cv2

        if len(self.rgb) <= side:
            return self
        inside = self.fov.astype(np.float32)
        share = cv2.resize(inside, (side, side), interpolation=cv2.INTER_AREA)
        total = cv2.resize(self.rgb * inside[..., None], (side, side), interpolation=cv2.INTER_AREA)
        mean = total / np.maximum(share, np.finfo(np.float32).tiny)[..., None]
        return _Picture((mean + 0.5).astype(np.uint8), share > 0)

    def pixels(self, length: float) -> float:
        """A length of a picture of 128 in one of this side."""
        return length * len(self.rgb) / naturalness.UNIT_SIDE

    def odd(self, length: float) -> int:
        """The odd number of pixels nearest to a length, 3 at least."""
        return max(2 * round((self.pixels(length) - 1) / 2) + 1, 3)

    def smoothed(self, values: np.ndarray, std: float) -> np.ndarray:
        """Gaussian means of (S, S) float32 values, over the pixels inside the field of view only."""
        import cv2

        inside = self.fov.astype(np.float32)
        std = self.pixels(std)
        sums = cv2.GaussianBlur(values * inside, (0, 0), std, borderType=cv2.BORDER_CONSTANT)
        weights = cv2.GaussianBlur(inside, (0, 0), std, borderType=cv2.BORDER_CONSTANT)
        return sums / np.maximum(weights, 1e-6)

    def inner(self, margin: float) -> np.ndarray:
        """Pixels with a square of half-side `margin` inside the field of view; all of its pixels if there are none."""
        import cv2

        width = 2 * round(self.pixels(margin)) + 1
        window = np.ones((width, width), np.uint8)
        left = cv2.erode(self.mask, window, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
        return left if left.any() else self.fov


def names(groups: Iterable[FeatureGroup]) -> tuple[str, ...]:
    """What `handcrafted` measures, in its order."""
    return tuple(name for group in groups for name in _NAMES[group])


def handcrafted(rgb: np.ndarray, fov: np.ndarray, groups: Iterable[FeatureGroup]) -> np.ndarray:
    """Features (d,) float64, all finite, of a picture (S, S, 3) uint8 within its field of view (S, S) bool.

    Raises DataError when the field of view is empty.
    """
    if not fov.any():
        raise DataError("the field of view is empty: there is nothing to measure in the picture")
    picture = _Picture(rgb, fov)
    return np.concatenate([_MEASURES[group](picture) for group in groups]).astype(np.float64)


def _naturalness(picture: _Picture) -> np.ndarray:
    return naturalness.naturalness(picture.luminance, picture.fov)


def _structure(picture: _Picture) -> np.ndarray:
    """Thin and dark: vessels; large and bright: optic disc and exudates. Both in grey levels of the green channel."""
    from .priors import large_structures, tiny_structures

    found = []
    for size in (5, 9):
        thin = tiny_structures(picture.rgb, picture.fov, picture.odd(size), 1.0)
        found.append(_strength(thin, picture, 10))
    for view, size in ((picture.small, 5), (picture.small.reduced(64), 11)):
        large = large_structures(view.rgb, view.fov, view.odd(size), view.odd(61), 1.0)
        found.append(_strength(large, view, 20))
    return np.concatenate(found)


def _strength(structures: np.ndarray, picture: _Picture, threshold: int) -> np.ndarray:
    """Mean, std, 95th percentile, share above the threshold, and how evenly the four quadrants have their part.

    Evenness: the share above the threshold in the poorest quadrant, over the mean of the quadrants; 0 where there is
    nothing above it at all.
    """
    import cv2

    levels = np.arange(256)
    counts = np.bincount(structures[picture.fov], minlength=256)
    total = counts.sum()
    mean = counts @ levels / total
    std = np.sqrt(counts @ (levels - mean) ** 2 / total)
    p95 = np.searchsorted(counts.cumsum(), 0.95 * total)
    found = (structures > threshold).astype(np.uint8)
    quadrants = [cv2.mean(found[part], picture.mask[part])[0] for part in picture.quadrants]
    evenness = min(quadrants) / np.mean(quadrants) if any(quadrants) else 0.0
    return np.array([mean, std, p95, counts[threshold + 1 :].sum() / total, evenness])


def _sharpness(picture: _Picture) -> np.ndarray:
    """Logarithms of the Laplacian's variance, of the mean gradient, and of the energy of fine over middling detail.

    Details are differences of Gaussians: fine between stds of ½ and 1 pixel of a picture of 128, middling of 2 and 4.
    One grey level is added, so that evenness is no infinity.
    """
    import cv2

    small, inner = picture.small, picture.inner(4)
    fine = picture.smoothed(picture.luminance, 0.5)
    high = (fine - picture.smoothed(picture.luminance, 1))[inner]
    middle = (small.smoothed(small.luminance, 2) - small.smoothed(small.luminance, 4))[small.inner(4)]
    # Derivatives by one pixel of a picture of 128.
    unit = picture.pixels(1)
    laplacian = cv2.Laplacian(fine, cv2.CV_32F)[inner] * unit**2
    across, down = (cv2.Sobel(fine, cv2.CV_32F, *axis, scale=unit / 8)[inner] for axis in ((1, 0), (0, 1)))
    return np.log(
        [
            1 + laplacian.var(dtype=np.float64),
            1 + np.hypot(across, down).mean(dtype=np.float64),
            (1 + _power(high)) / (1 + _power(middle)),
        ]
    )


def _power(values: np.ndarray) -> float:
    return float(np.square(values).mean(dtype=np.float64))


def _illumination(picture: _Picture) -> np.ndarray:
    """Of the luminance in 0…1. Unevenness: std over mean, after a wide blur inside the field of view."""
    from .priors import bright_channel, dark_channel

    small = picture.small
    light = small.luminance / 255
    rough = small.reduced(32)
    smooth = rough.smoothed(rough.luminance / 255, 12)[rough.fov]
    values = light[small.fov]
    patch = small.odd(9)
    return np.array(
        [
            values.mean(),
            values.std(),
            *np.percentile(values, (5, 95)),
            smooth.std() / max(float(smooth.mean()), 1 / 255),
            (values < 0.1).mean(),
            (values > 0.9).mean(),
            dark_channel(small.rgb, patch, small.fov)[small.fov].mean() / 255,
            bright_channel(small.rgb, patch, small.fov)[small.fov].mean() / 255,
        ]
    )


def _colour(picture: _Picture) -> np.ndarray:
    """Of the shares of red, green and blue in their sum (a third each in black), of HSV's saturation, and of the hue.

    The concentration of the hue is the length of the mean of its unit vectors (1: all of one hue) over coloured pixels.
    """
    import cv2

    small = picture.small
    colours = np.stack([plane[small.fov] for plane in cv2.split(small.rgb)]).astype(np.float32)
    total = colours.sum(0)
    shares = np.where(total > 0, colours / np.maximum(total, 1), np.float32(1 / 3))
    highest = colours.max(0)
    saturation = (highest - colours.min(0)) / np.maximum(highest, 1)
    red, green, blue = colours
    across, along = red - (green + blue) / 2, (green - blue) * np.float32(0.75**0.5)
    strength = np.hypot(across, along)
    coloured = np.maximum(np.count_nonzero(strength), 1)
    strength[strength == 0] = 1
    hue = np.hypot((across / strength).sum(dtype=np.float64), (along / strength).sum(dtype=np.float64)) / coloured
    moments = np.stack([shares.mean(1, dtype=np.float64), shares.std(1, dtype=np.float64)], 1).ravel()
    return np.array([*moments, saturation.mean(), saturation.std(), hue])


_MEASURES: Mapping[FeatureGroup, Callable[[_Picture], np.ndarray]] = {
    "naturalness": _naturalness,
    "structure": _structure,
    "sharpness": _sharpness,
    "illumination": _illumination,
    "colour": _colour,
}
