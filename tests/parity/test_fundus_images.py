"""Fields of view and channels against what the EyeQ code and an independent computation made of real photographs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchwright.adapters.vision.fundus import field_of_view, prepared, resized
from benchwright.adapters.vision.images import read_image
from benchwright.adapters.vision.priors import bright_channel, dark_channel
from benchwright.errors import DataError

PHOTOGRAPHS = {
    "retina_cc0": "cc0_skimage/retina.jpg",
    "hrf_07_h": "ccby_hrf_healthy/07_h.jpg",
}


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_field_of_view_is_that_of_the_eyeq_code(shared: Path, name: str) -> None:
    fixture = json.loads((shared / "fixtures" / "iqa" / "fundus_prep_expected.json").read_text())
    expected: dict[str, Any] = fixture["items"][name]
    photograph = read_image(shared / "data" / "fundus" / PHOTOGRAPHS[name])
    assert list(photograph.shape) == expected["input_shape"]
    found, (rgb, fov) = field_of_view(photograph), prepared(photograph, "field_of_view")
    top, left, height, width = found.bbox
    assert [top, left, height, width] == expected["bbox"]
    assert list(found.centre) == expected["center"]
    assert found.radius == expected["radius"]
    assert [top, top + height, left, left + width, *photograph.shape[:2]] == expected["remove_border"]
    assert list(rgb.shape) == expected["output_shape"]
    assert fov.sum() == expected["mask_sum_over_255"]
    assert digest(fov * np.uint8(255)) == expected["mask_sha256"]
    start, stop, left_start, left_stop, side = expected["supplement_border"]
    assert fov.shape == (side, side)
    assert np.array_equal(fov[start:stop, left_start:left_stop], found.mask[top : top + height, left : left + width])
    # JPEG decoders may differ by a level; the pixels can be compared where this one is the fixture's.
    if digest(photograph) == expected["input_sha256"]:
        assert digest(rgb) == expected["output_sha256"]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_resized_photographs(shared: Path, name: str) -> None:
    folder = shared / "fixtures" / "iqa"
    photograph = read_image(shared / "data" / "fundus" / PHOTOGRAPHS[name])
    rgb, fov = resized(*prepared(photograph, "field_of_view"), 224)
    difference = cv2.absdiff(rgb, read_image(folder / f"{name}_224.png"))
    assert difference.max() <= 1
    assert difference.mean() < 0.05
    # The fixture takes the mask's nearest pixel, ours counts areas: they differ along the rim alone.
    theirs = np.pad(read_image(folder / f"{name}_224_mask.png")[..., 0], 1)
    inner, outer = (how(theirs, np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 127 for how in (cv2.erode, cv2.dilate))
    assert fov[inner].all()
    assert not fov[~outer].any()


def test_channels_bit_for_bit(shared: Path) -> None:
    folder = shared / "fixtures" / "iqa"
    compared = 0
    with np.load(folder / "channels_expected.npz") as arrays:
        for key in sorted(set(arrays.files) - {f"{name}_rgb" for name in PHOTOGRAPHS}):
            name, which, patch = key.rsplit("_", 2)
            channel = {"dark": dark_channel, "bright": bright_channel}[which]
            found = channel(arrays[f"{name}_rgb"], int(patch.removeprefix("p")))
            assert np.array_equal(found, arrays[key]), key
            compared += 1
    assert compared == 20


@pytest.mark.parametrize("light", [1.0, 0.2, 0.05])
def test_every_photograph_has_a_field_of_view_dark_or_not(shared: Path, light: float) -> None:
    files = sorted((shared / "data" / "fundus").glob("*/*.jpg"))
    assert len(files) == 9
    for file in files:
        photograph = read_image(file)
        expected = field_of_view(photograph)
        found = field_of_view(np.rint(photograph * light).astype(np.uint8))
        assert found.radius == pytest.approx(expected.radius, rel=0.03), file
        assert found.centre == pytest.approx(expected.centre, abs=0.03 * expected.radius), file


def test_a_picture_from_inside_the_retina_has_none(shared: Path) -> None:
    photograph = read_image(shared / "data" / "fundus" / PHOTOGRAPHS["hrf_07_h"])
    with pytest.raises(DataError, match="no field of view found"):
        field_of_view(photograph[200:500, 350:700])
