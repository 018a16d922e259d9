"""Handcrafted features: fits recover what was drawn, measures have known answers, nothing outside the eye counts."""

from __future__ import annotations

from math import gamma, log, pi, sin
from typing import get_args

import numpy as np
import pytest

from benchwright.adapters.vision import naturalness
from benchwright.adapters.vision.features import handcrafted, names
from benchwright.adapters.vision.params import FeatureGroup
from benchwright.errors import DataError

GROUPS: tuple[FeatureGroup, ...] = get_args(FeatureGroup)


def measured(rgb: np.ndarray, fov: np.ndarray | None = None) -> dict[str, float]:
    inside = np.ones(rgb.shape[:2], bool) if fov is None else fov
    return dict(zip(names(GROUPS), handcrafted(rgb, inside, GROUPS).tolist(), strict=True))


def even(side: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


def disc(side: int, radius: float = 0.94) -> np.ndarray:
    v, u = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    return np.hypot(u, v) < radius


def eye(side: int, width: float = 0.03, contrast: float = 0.35, glow: float = 0.35) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture of four vessels and an optic disc; lengths in halves of the side."""
    v, u = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    curves = ((0.2, 0), (-0.5, 1), (1.5, 2), (-2, 3))
    vessels = sum(np.exp(-(((v - slope * u - 0.25 * np.sin(3 * u + at)) / width) ** 2) / 2) for slope, at in curves)
    bright = np.exp(-(((u - 0.35) ** 2 + (v - 0.05) ** 2) / 0.12**2) / 2)
    green = 0.45 * (1 - 0.3 * (u**2 + v**2)) * (1 - contrast * np.clip(vessels, 0, 1)) + glow * bright
    rgb = np.stack([np.clip(1.5 * green + 0.1, 0, 1), green, 0.35 * green], -1)
    fov = disc(side)
    return np.where(fov[..., None], rgb * 255 + 0.5, 0).astype(np.uint8), fov


def drawn(rng: np.random.Generator, shape: float, left: float, right: float, count: int = 200_000) -> np.ndarray:
    """Draws of an asymmetric generalised Gaussian density with scales β_l, β_r."""
    size = rng.gamma(1 / shape, size=count) ** (1 / shape)
    return np.where(rng.random(count) < left / (left + right), -left * size, right * size)


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 4.0])
def test_a_generalised_gaussian_is_recovered(shape: float) -> None:
    x = drawn(np.random.default_rng(0), shape, 3.0, 3.0)
    variance = 9 * gamma(3 / shape) / gamma(1 / shape)
    assert naturalness.fit_generalised(x) == pytest.approx((shape, variance), rel=0.03)


def test_noise_is_told_by_its_shape() -> None:
    rng = np.random.default_rng(1)
    assert naturalness.fit_generalised(rng.normal(0, 5, 100_000)) == pytest.approx((2, 25), rel=0.03)
    assert naturalness.fit_generalised(rng.laplace(0, 5, 100_000)) == pytest.approx((1, 50), rel=0.03)
    assert naturalness.fit_generalised(rng.uniform(-1, 1, 10_000))[0] > 9


@pytest.mark.parametrize(("shape", "left", "right"), [(0.7, 1.0, 2.0), (1.0, 3.0, 1.0), (2.0, 0.5, 1.5)])
def test_an_asymmetric_one_is_recovered(shape: float, left: float, right: float) -> None:
    x = drawn(np.random.default_rng(2), shape, left, right)
    square = gamma(3 / shape) / gamma(1 / shape)
    mean = (right - left) * gamma(2 / shape) / gamma(1 / shape)
    expected = (shape, mean, left**2 * square, right**2 * square)
    assert naturalness.fit_asymmetric(x) == pytest.approx(expected, rel=0.04)
    # The density's mean is the sample's too, which the fit did not look at.
    assert mean == pytest.approx(x.mean(), rel=0.02)


def test_a_mirrored_sample_swaps_left_and_right() -> None:
    x = drawn(np.random.default_rng(3), 1.3, 1.0, 2.5, 999)
    shape, mean, left, right = naturalness.fit_asymmetric(x)
    assert naturalness.fit_asymmetric(-x) == pytest.approx((shape, -mean, right, left), rel=1e-9)


def test_one_sided_and_empty_samples_have_a_fit() -> None:
    x = np.abs(drawn(np.random.default_rng(4), 1.0, 1.0, 1.0, 20_000))
    shape, mean, left, right = naturalness.fit_asymmetric(x)
    assert (shape, mean, left) == pytest.approx((1, 1, 0), rel=0.04)
    assert right == pytest.approx(np.mean(x**2))
    assert naturalness.fit_asymmetric(np.array([])) == (2, 0, 0, 0)
    assert naturalness.fit_generalised(np.zeros(9)) == (2, 0)


def test_coefficients_are_those_of_the_definition() -> None:
    """BRISQUE's equations, written out at one pixel."""
    picture = np.random.default_rng(5).uniform(0, 255, (20, 20))
    at = np.arange(-3, 4)
    weights = np.exp(-(at[:, None] ** 2 + at**2) / (2 * (7 / 6) ** 2))
    weights /= weights.sum()
    around = picture[7:14, 8:15]
    mean = (weights * around).sum()
    deviation = (weights * (around - mean) ** 2).sum() ** 0.5
    assert naturalness.mscn(picture)[10, 11] == pytest.approx((picture[10, 11] - mean) / (deviation + 1), rel=1e-9)


def test_products_are_of_the_neighbours_they_are_named_after() -> None:
    """Lines along a diagonal: neighbours along it are alike, and across it opposite."""
    v, u = np.mgrid[:64, :64]
    found = measured(np.repeat(((u - v) % 4 // 2 * 200)[..., None], 3, 2).astype(np.uint8))
    assert found["naturalness.fine.diagonal.left_variance"] < 1e-9
    assert found["naturalness.fine.diagonal.mean"] > 0
    assert found["naturalness.fine.antidiagonal.right_variance"] < 1e-9
    assert found["naturalness.fine.antidiagonal.mean"] < 0
    assert found["naturalness.fine.right.shape"] == pytest.approx(found["naturalness.fine.below.shape"])


def test_names_are_unique_and_follow_the_groups() -> None:
    assert len(naturalness.NAMES) == 36
    assert len(set(names(GROUPS))) == len(names(GROUPS))
    rgb, fov = eye(64)
    whole = handcrafted(rgb, fov, GROUPS)
    assert whole.dtype == np.float64
    for group in GROUPS:
        at = [i for i, name in enumerate(names(GROUPS)) if name.startswith(f"{group}.")]
        assert tuple(names(GROUPS)[i] for i in at) == names([group])
        assert np.array_equal(handcrafted(rgb, fov, [group]), whole[at])
    assert np.array_equal(handcrafted(rgb, fov, GROUPS[::-1])[-36:], whole[:36])


@pytest.mark.parametrize("side", [32, 65, 128, 150])
def test_every_picture_has_finite_features(side: int) -> None:
    rng = np.random.default_rng(6)
    whole, small, one, corner = np.ones((side, side), bool), disc(side, 0.1), np.zeros((side, side), bool), disc(side)
    one[side // 3, side // 2] = True
    corner[:] = False
    corner[0, 0] = True
    pictures = [even(side, (0, 0, 0)), even(side, (255, 255, 255)), even(side, (200, 90, 30))]
    pictures.append(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    for fov in (whole, small, one, corner):
        for rgb in pictures:
            assert np.isfinite(handcrafted(rgb, fov, GROUPS)).all()


def test_an_empty_field_of_view_is_refused() -> None:
    with pytest.raises(DataError, match="field of view is empty"):
        handcrafted(even(64, (9, 9, 9)), np.zeros((64, 64), bool), GROUPS)


@pytest.mark.parametrize("side", [96, 128, 200])
def test_what_lies_outside_of_the_eye_does_not_count(side: int) -> None:
    rgb, fov = eye(side)
    noise = np.random.default_rng(7).integers(0, 256, rgb.shape, dtype=np.uint8)
    other = np.where(fov[..., None], rgb, noise)
    assert measured(other, fov) == pytest.approx(measured(rgb, fov), rel=1e-4, abs=1e-4)


def test_an_even_picture_shows_nothing() -> None:
    found = measured(even(96, (150, 100, 50)), disc(96))
    luminance = (0.299 * 150 + 0.587 * 100 + 0.114 * 50) / 255
    expected = {name: 0.0 for name in found}
    expected |= {name: 2.0 for name in found if name.endswith(".shape")}
    expected |= {f"illumination.{name}": luminance for name in ("mean", "p5", "p95")}
    expected |= {"illumination.dark_channel": 50 / 255, "illumination.bright_channel": 150 / 255}
    expected |= {f"colour.{c}.mean": v for c, v in {"red": 1 / 2, "green": 1 / 3, "blue": 1 / 6}.items()}
    expected |= {"colour.saturation.mean": 2 / 3, "colour.hue_concentration": 1.0}
    assert found == pytest.approx(expected, abs=1e-4)


def test_two_sizes_of_one_eye_measure_alike() -> None:
    small, large = measured(*eye(128)), measured(*eye(512))
    for name, value in small.items():
        if name.startswith("structure."):
            # Odd windows and whole grey levels do not scale exactly.
            assert large[name] == pytest.approx(value, rel=0.25, abs=0.5), name
        elif name.startswith("naturalness."):
            assert large[name] == pytest.approx(value, rel=0.1, abs=0.05), name
        else:
            assert large[name] == pytest.approx(value, rel=0.05, abs=0.01 if "sharp" not in name else 0.2), name


def test_vessels_are_seen_as_far_as_they_are_there() -> None:
    clear, faint, none = (measured(*eye(128, contrast=c)) for c in (0.4, 0.1, 0.0))
    for name in ("mean", "std", "p95", "share"):
        key = f"structure.vessels.coarse.{name}"
        assert clear[key] > faint[key] >= none[key], name
    assert clear["structure.vessels.coarse.share"] > 0.1
    assert none["structure.vessels.coarse.share"] == 0


def test_the_disc_is_seen_as_far_as_it_is_there() -> None:
    clear, faint, none = (measured(*eye(128, contrast=0, glow=g)) for g in (0.35, 0.1, 0.0))
    for scale in ("fine", "coarse"):
        key = f"structure.large.{scale}.std"
        assert clear[key] > 2 * faint[key] > 4 * none[key]
        # Where 0.35 · 255 · exp(−ρ²/2·0.12²) is above 20 levels, of a disc of radius 0.94.
        share = 2 * 0.12**2 * log(0.35 * 255 / 20) / 0.94**2
        assert clear[f"structure.large.{scale}.share"] == pytest.approx(share, rel=0.1)
        assert none[f"structure.large.{scale}.share"] == 0


def test_structure_in_one_quadrant_is_uneven() -> None:
    rgb = even(128, (150, 100, 50))
    rgb[20:60, 30:32] = rgb[20:60, 30:32] // 2
    assert measured(rgb)["structure.vessels.fine.evenness"] == 0
    assert measured(rgb)["structure.vessels.fine.share"] == pytest.approx(80 / 128**2)
    everywhere = np.minimum(np.minimum(rgb, rgb[::-1]), np.minimum(rgb, rgb[::-1])[:, ::-1])
    assert measured(everywhere)["structure.vessels.fine.evenness"] == pytest.approx(1)


def test_sharpness_of_a_wave_is_that_of_its_equation() -> None:
    """A cosine of amplitude a and frequency k, blurred by a Gaussian of std s, keeps a · exp(−k²s²/2)."""
    k, a = 2 * pi / 12, 100.0
    wave = 128 + a * np.cos(k * np.arange(128))
    rgb = np.repeat(np.broadcast_to(wave, (128, 128))[..., None], 3, 2).round().astype(np.uint8)

    def left(s: float) -> float:
        return float(a * np.exp(-((k * s) ** 2) / 2))

    found = measured(rgb)
    variance = (left(0.5) * (2 * sin(k / 2)) ** 2) ** 2 / 2
    gradient = left(0.5) * sin(k) * 2 / pi
    high, middle = (left(0.5) - left(1)) ** 2 / 2, (left(2) - left(4)) ** 2 / 2
    assert found["sharpness.laplacian"] == pytest.approx(log(1 + variance), abs=0.1)
    assert found["sharpness.gradient"] == pytest.approx(log(1 + gradient), abs=0.05)
    assert found["sharpness.high_to_middle"] == pytest.approx(log((1 + high) / (1 + middle)), abs=0.15)


def test_blur_takes_sharpness_away() -> None:
    import cv2

    rgb, fov = eye(128, width=0.015)
    sharp, soft = measured(rgb, fov), measured(cv2.GaussianBlur(rgb, (0, 0), 2), fov)
    for name in ("laplacian", "gradient", "high_to_middle"):
        assert soft[f"sharpness.{name}"] < sharp[f"sharpness.{name}"] - 0.05


def test_light_is_measured_in_parts() -> None:
    rgb = even(128, (0, 0, 0))
    rgb[:, 64:] = 255
    found = measured(rgb)
    assert (found["illumination.underexposed"], found["illumination.overexposed"]) == (0.5, 0.5)
    assert (found["illumination.p5"], found["illumination.p95"]) == pytest.approx((0, 1))
    assert (found["illumination.mean"], found["illumination.std"]) == pytest.approx((0.5, 0.5))
    # A step that is blurred is less uneven than a step.
    assert 0.6 < found["illumination.unevenness"] < 1


def test_opposite_colours_have_no_hue_in_common() -> None:
    rgb = even(64, (200, 0, 0))
    rgb[:32] = (0, 200, 200)
    found = measured(rgb)
    assert found["colour.hue_concentration"] == pytest.approx(0, abs=1e-6)
    assert found["colour.saturation.mean"] == pytest.approx(1)
    assert (found["colour.red.mean"], found["colour.red.std"]) == pytest.approx((0.5, 0.5))
    assert measured(even(64, (80, 80, 80)))["colour.hue_concentration"] == 0


def test_the_picture_is_left_as_it_was() -> None:
    rgb, fov = eye(160)
    before = rgb.copy(), fov.copy()
    first = handcrafted(rgb, fov, GROUPS)
    assert np.array_equal(first, handcrafted(rgb, fov, GROUPS))
    assert np.array_equal(rgb, before[0])
    assert np.array_equal(fov, before[1])
