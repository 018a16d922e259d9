"""Maps of a picture that are made without learning, and that point a network at what matters for its quality."""

from __future__ import annotations

import numpy as np

from .params import BrightChannel, DarkChannel, LargeStructures, Prior

Map = np.ndarray
"""(H, W), as the picture."""
Mask = np.ndarray
"""(H, W), true in the field of view."""


def prior_map(prior: Prior, rgb: np.ndarray, fov: Mask | None) -> Map:
    """The map (H, W) that a spec asks for, of a picture (H, W, 3); without a field of view all of it counts."""
    if isinstance(prior, DarkChannel):
        return dark_channel(rgb, prior.patch, fov if prior.mask else None)
    if isinstance(prior, BrightChannel):
        return bright_channel(rgb, prior.patch, fov if prior.mask else None)
    if isinstance(prior, LargeStructures):
        return large_structures(rgb, fov, prior.opening, prior.background, prior.gain)
    return tiny_structures(rgb, fov, prior.size, prior.gain)


def dark_channel(rgb: np.ndarray, patch: int, fov: Mask | None = None) -> Map:
    """Least value of the three colours in a window of `patch` × `patch` pixels (He, Sun & Tang 2009).

    Pixels beyond the frame, or outside the field of view, are left out of windows; outside the field of view it is 0.
    """
    import cv2

    red, green, blue = cv2.split(rgb)
    least = cv2.min(cv2.min(red, green), blue)
    if fov is not None:
        least[~fov] = 255
    return _within(cv2.erode(least, np.ones((patch, patch), np.uint8)), fov)


def bright_channel(rgb: np.ndarray, patch: int, fov: Mask | None = None) -> Map:
    """Greatest value of the three colours in a window; as `dark_channel` otherwise."""
    import cv2

    red, green, blue = cv2.split(rgb)
    greatest = cv2.max(cv2.max(red, green), blue)
    if fov is not None:
        greatest[~fov] = 0
    return _within(cv2.dilate(greatest, np.ones((patch, patch), np.uint8)), fov)


def large_structures(rgb: np.ndarray, fov: Mask | None, opening: int, background: int, gain: float) -> Map:
    """How far green, opened by an ellipse, is above its median in a window of `background` pixels; times `gain`.

    Bright structures that are narrower than `opening` pixels, or fill half of the window, are not seen.
    """
    import cv2

    green, core = _continued(rgb, fov)
    opened = cv2.morphologyEx(green, cv2.MORPH_OPEN, _ellipse(opening))
    return _scaled(cv2.subtract(opened, cv2.medianBlur(green, background)), gain, core)


def tiny_structures(rgb: np.ndarray, fov: Mask | None, size: int, gain: float) -> Map:
    """How far green is below its closing by an ellipse of `size` pixels (the black top-hat), times `gain`: dark
    structures that are narrower than that."""
    import cv2

    green, core = _continued(rgb, fov)
    return _scaled(cv2.morphologyEx(green, cv2.MORPH_BLACKHAT, _ellipse(size)), gain, core)


def _within(values: Map, fov: Mask | None) -> Map:
    if fov is not None:
        values[~fov] = 0
    return values


def _ellipse(size: int) -> np.ndarray:
    import cv2

    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)).astype(np.uint8)


def _scaled(difference: Map, gain: float, core: Mask | None) -> Map:
    import cv2

    return _within(cv2.convertScaleAbs(difference, alpha=gain), core)


def _continued(rgb: np.ndarray, fov: Mask | None) -> tuple[Map, Mask | None]:
    """The green channel, continued outwards from the core of the field of view, and that core.

    Each pixel outside takes the value of the nearest inside: shading that falls off to the rim goes on without an
    edge, and a vessel that crosses it goes on as a vessel. The core leaves out the rim, 1 % of the picture's side and
    at least 2 pixels, where black is mixed in.
    """
    import cv2

    green = np.ascontiguousarray(rgb[..., 1])
    if fov is None:
        return green, None
    rim = max(2, round(0.01 * max(fov.shape)))
    core = cv2.erode(fov.astype(np.uint8), _ellipse(2 * rim + 1)).astype(bool)
    if core.all() or not core.any():
        return green, core
    outside = (~core).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    value = np.zeros(int(nearest.max()) + 1, np.uint8)
    value[nearest[core]] = green[core]
    return value[nearest], core
