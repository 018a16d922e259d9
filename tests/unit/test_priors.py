"""Priors: against a window written out, closed forms, and no structure that the black surround makes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchwright.adapters.vision.fundus import resized
from benchwright.adapters.vision.params import BrightChannel, DarkChannel, LargeStructures, TinyStructures
from benchwright.adapters.vision.priors import (
    bright_channel,
    dark_channel,
    large_structures,
    prior_map,
    tiny_structures,
)
from benchwright.adapters.worlds.fundus.world import sample
from benchwright.reducers.probability import binary_auc

SIZE = 160
PRIORS = [
    DarkChannel(type="dark_channel"),
    BrightChannel(type="bright_channel"),
    LargeStructures(type="large_structures"),
    TinyStructures(type="tiny_structures"),
]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def disc(size: int = SIZE) -> np.ndarray:
    """A field of view, (size, size)."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return np.hypot(rows, columns) <= 0.47 * size


def retina(colour: tuple[int, int, int] = (180, 100, 60)) -> np.ndarray:
    """A uniform disc on black."""
    return (disc()[..., None] * np.array(colour)).astype(np.uint8)


def large(rgb: np.ndarray, fov: np.ndarray | None) -> np.ndarray:
    return large_structures(rgb, fov, opening=5, background=61, gain=4.0)


def tiny(rgb: np.ndarray, fov: np.ndarray | None) -> np.ndarray:
    return tiny_structures(rgb, fov, size=9, gain=5.0)


@pytest.mark.parametrize("patch", [1, 3, 7, 31])
@pytest.mark.parametrize("masked", [False, True])
def test_channels_are_the_extremes_of_every_window(patch: int, masked: bool) -> None:
    rgb, half = noise(23, 19), patch // 2
    fov = np.random.default_rng(1).random(rgb.shape[:2]) < 0.4 if masked else None
    counted = np.ones(rgb.shape[:2], bool) if fov is None else fov
    for found, extreme in ((dark_channel(rgb, patch, fov), np.min), (bright_channel(rgb, patch, fov), np.max)):
        for i, j in np.ndindex(counted.shape):
            window = slice(max(i - half, 0), i + half + 1), slice(max(j - half, 0), j + half + 1)
            expected = extreme(rgb[window][counted[window]]) if counted[i, j] else 0
            assert found[i, j] == expected


def test_the_surround_makes_no_dark_rim_when_it_is_left_out() -> None:
    inside = disc()
    assert (dark_channel(retina(), 15, inside)[inside] == 60).all()
    assert (dark_channel(retina(), 15)[inside] == 0).any()
    assert (bright_channel(255 - retina(), 15, inside)[inside] == 195).all()


@pytest.mark.parametrize("level", [1, 100, 255])
def test_a_uniform_disc_has_no_structure(level: int) -> None:
    rgb = retina((level, level, level))
    assert not large(rgb, disc()).any()
    assert not tiny(rgb, disc()).any()
    # Where shrinking has mixed black into the rim as well.
    small, fov = resized(rgb, disc(), 64)
    assert not large(small, fov).any()
    assert not tiny(small, fov).any()


def test_shading_is_no_more_of_a_structure_at_the_rim() -> None:
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    away = np.hypot(rows, columns) / (0.47 * SIZE)
    rgb = np.rint(retina() * (1 - 0.5 * away**2)[..., None]).astype(np.uint8)
    middle, rim = away < 0.5, disc() & (away > 0.9)
    assert tiny(rgb, disc()).mean() < 0.2
    assert large(rgb, disc())[rim].mean() < large(rgb, disc())[middle].mean()
    assert large(rgb, None)[rim].mean() > 5 * large(rgb, None)[middle].mean()


@pytest.mark.parametrize("at", [(80, 80), (80, 12)])
def test_a_thin_dark_line_is_tiny_and_a_bright_blob_large(at: tuple[int, int]) -> None:
    row, column = at
    line, blob = np.zeros((2, SIZE, SIZE), np.uint8)
    cv2.line(line, (column, row - 30), (column + 10, row + 30), 1, 3)
    cv2.circle(blob, (column + 6, row), 9, 1, -1)
    core = cv2.erode(disc().astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    dark, bright = retina(), retina()
    dark[line.astype(bool) & disc()] = (120, 60, 40)
    bright[blob.astype(bool) & disc()] = (240, 160, 90)
    # A line along the rim ends at it; a drawn circle has corners that an ellipse does not reach into.
    assert (tiny(dark, disc())[line.astype(bool) & core] == 200).mean() > 0.95
    assert not tiny(dark, disc())[~line.astype(bool)].any()
    assert not large(dark, disc()).any()
    assert (large(bright, disc())[blob.astype(bool) & core] == 240).mean() > 0.95
    assert not large(bright, disc())[~blob.astype(bool)].any()
    assert not tiny(bright, disc()).any()


def test_contrast_is_multiplied_and_cut_off() -> None:
    rgb = retina()
    rgb[80, 40:120, 1] -= 30
    for gain, expected in ((0.5, 15), (2.0, 60), (100.0, 255)):
        assert tiny_structures(rgb, disc(), 9, gain)[80, 80] == expected


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.type)
def test_a_prior_is_a_byte_map_of_the_picture_alone(prior: DarkChannel) -> None:
    rgb = noise(SIZE, SIZE)
    kept = rgb.copy()
    found = prior_map(prior, rgb, disc())
    assert (found.shape, found.dtype) == ((SIZE, SIZE), np.uint8)
    assert not found[~disc()].any()
    assert found[disc()].any()
    assert np.array_equal(rgb, kept)
    # What is outside has no say, nor how the array lies in memory.
    painted = np.where(disc()[..., None], rgb, 255 - rgb)
    assert np.array_equal(prior_map(prior, painted, disc()), found)
    assert np.array_equal(prior_map(prior, np.asfortranarray(rgb), disc()), found)
    assert np.array_equal(
        prior_map(prior, rgb, np.ones_like(disc()))[3:-3, 3:-3], prior_map(prior, rgb, None)[3:-3, 3:-3]
    )
    assert not prior_map(prior, rgb, np.zeros_like(disc())).any()


def test_a_spec_names_its_function_and_fields() -> None:
    rgb, inside = noise(SIZE, SIZE), disc()
    wide = LargeStructures(type="large_structures", opening=3, background=21, gain=2)
    expected = {
        DarkChannel(type="dark_channel", patch=5): dark_channel(rgb, 5, inside),
        DarkChannel(type="dark_channel", patch=5, mask=False): dark_channel(rgb, 5),
        BrightChannel(type="bright_channel", patch=3): bright_channel(rgb, 3, inside),
        BrightChannel(type="bright_channel", patch=3, mask=False): bright_channel(rgb, 3),
        wide: large_structures(rgb, inside, 3, 21, 2),
        TinyStructures(type="tiny_structures", size=5, gain=0.5): tiny_structures(rgb, inside, 5, 0.5),
    }
    for prior, found in expected.items():
        assert np.array_equal(prior_map(prior, rgb, inside), found)


def test_the_maps_find_the_structures_that_they_are_named_after() -> None:
    """Area under the ROC curve of each map for the true masks of clean eyes; ½ is chance."""
    found: dict[str, list[float]] = {"vessels": [], "disc": []}
    for index in range(9):
        eye = sample(3, index, 128, {})
        inside = np.ones((1, int(eye.fov.sum())))
        for name, prior in (("vessels", TinyStructures(type="tiny_structures")), ("disc", LARGE)):
            scores = prior_map(prior, eye.rgb, eye.fov)[eye.fov].astype(float)
            found[name].append(float(binary_auc(scores, getattr(eye, name)[eye.fov], inside)[0]))
    assert np.median(found["vessels"]) > 0.95
    assert np.median(found["disc"]) > 0.9


LARGE = LargeStructures(type="large_structures")
