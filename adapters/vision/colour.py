"""Colour spaces that a network may look at."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform


def in_space(rgb: np.ndarray, space: Literal["rgb", "hsv", "lab"]) -> np.ndarray:
    """A picture (H, W, 3) in another colour space, (H, W, 3), with the values that MCF-Net (Fu et al. 2019) was fed.

    `hsv`: Pillow's, each in 0…255 (a full turn of the hue is 255). `lab`: CIELAB (D50) by Pillow's profiles, L of 255
    for white; a and b are signed bytes whose bits are read as unsigned: grey is 0, −1 is 255.
    """
    from PIL import Image, ImageCms

    if space == "rgb":
        return rgb
    image = Image.fromarray(np.ascontiguousarray(rgb))
    if space == "hsv":
        return np.array(image.convert("HSV"))
    lab = ImageCms.applyTransform(image, _to_lab())
    return np.array(lab)


@cache
def _to_lab() -> ImageCmsTransform:
    from PIL import ImageCms

    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.buildTransformFromOpenProfiles(srgb, lab, "RGB", "LAB")
