"""The synthetic fundus world: closed forms against what is painted, known answers, and what never changes."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from dataclasses import fields as names_of
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from benchwright.adapters.worlds.fundus import AXES, visibility, world
from benchwright.adapters.worlds.fundus.degradation import Blur, Fields, blurred, degradation, degraded
from benchwright.adapters.worlds.fundus.degradation import Veil as Over
from benchwright.adapters.worlds.fundus.eye import draw_anatomy, field_of_view, paint_background
from benchwright.adapters.worlds.fundus.grid import centres
from benchwright.adapters.worlds.fundus.vessels import COVERED, draw, grow, paint_vessels
from benchwright.adapters.worlds.fundus.world import Sample, sample
from benchwright.cli.app import app
from benchwright.errors import UsageError

SWEEP = (0.0, 0.15, 0.4, 0.7, 1.0)
CLEAR = Fields(Blur(), np.ones((1, 1), np.float32), ())


def same(one: Sample, two: Sample) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(two, f.name)) for f in names_of(Sample))


@pytest.mark.parametrize("std", [0.004, 0.01, 0.02])
def test_blur_leaves_of_a_line_and_of_a_blob_what_the_closed_form_says(std: float) -> None:
    size, width = 255, 0.03  # odd: a pixel lies at the peak
    square = np.square(centres(size) - 0.5) / (2 * (width / 2.3548) ** 2)
    line = np.tile(np.exp(-square), (size, 1)).astype(np.float32)
    blob = np.exp(-(square[:, None] + square)).astype(np.float32)
    everywhere = np.ones((size, size), bool)
    after = blurred(np.stack([line, blob]), everywhere, Blur(std))
    middle = size // 2
    assert after[0, middle].max() / line.max() == pytest.approx(visibility.line_share(width, std**2), abs=0.001)
    assert after[1].max() / blob.max() == pytest.approx(visibility.blob_share(width, std**2), abs=0.001)
    assert visibility.blob_share(width, std**2) == pytest.approx(float(visibility.line_share(width, std**2)) ** 2)


def test_movement_blurs_lines_of_all_directions_as_its_mean_variance_does() -> None:
    size, width = 191, 0.02
    line = np.tile(np.exp(-np.square(centres(size) - 0.5) / (2 * (width / 2.3548) ** 2)), (size, 1))
    everywhere = np.ones((size, size), bool)
    for movement in (0.02, 0.05):
        left = [
            blurred(line[None].astype(np.float32), everywhere, Blur(0.003, movement, angle))[0, size // 2].max()
            for angle in np.linspace(0, np.pi, 16, endpoint=False)
        ]
        variance = visibility.effective_variance(Blur(0.003, movement))
        assert np.mean(left) / line.max() == pytest.approx(visibility.line_share(width, variance), abs=0.015)
        assert min(left) < 0.85 * max(left)  # across the vessel it costs most, along it next to nothing


def test_light_and_veils_known_answers() -> None:
    gain = np.array([[0, 0.25, 1]], np.float32)
    assert visibility.light_share(gain)[0] == pytest.approx([0, 0.5, 1])
    veils = (Over(np.float32([[0.5, 0, 0.2]]), np.ones(3)), Over(np.float32([[0.5, 0.4, 0]]), np.zeros(3)))
    assert visibility.let_through(Fields(Blur(), gain, veils))[0] == pytest.approx([0, 0.3, 0.8])
    # Four pixels of vessel, of which one is under a veil, and a disc that blur alone touches.
    vessels, disc = np.array([[1, 1, 1, 1, 0]], bool), np.array([[0, 0, 0, 0, 1]], bool)
    over = Fields(Blur(0.01), np.ones((1, 1), np.float32), (Over(np.float32([[1, 0, 0, 0, 0]]), np.ones(3)),))
    s = np.array([0.02, 0.04]) / 2.3548
    line, blob = s[0] / np.hypot(s[0], 0.01), s[1] ** 2 / (s[1] ** 2 + 0.01**2)
    seen = visibility.visibility(over, vessels, np.full((1, 5), 0.02, np.float32), disc, 0.04)
    assert seen == pytest.approx(0.5 * 0.75 * line + 0.25 * line + 0.25 * blob, abs=1e-5)


@pytest.mark.parametrize("axis", ["illumination", "haze", "artefacts"])
def test_contrast_of_painted_vessels_is_what_the_fields_say(axis: str) -> None:
    size, severity = 128, 0.8
    for index in range(4):
        rng = np.random.default_rng(index)
        eye = draw_anatomy(rng)
        fov, without = field_of_view(eye, size), paint_background(rng, eye, size)
        vessels, within = draw(grow(rng, eye), eye, size), without.copy()
        paint_vessels(rng, vessels, within)
        fields = degradation({axis: severity}, size, 0, index)
        through = visibility.let_through(replace(fields, gain=CLEAR.gain)) * fields.gain
        at = (vessels.cover > COVERED) & fov
        left = [degraded(planes.transpose(1, 2, 0), fov, fields)[at] for planes in (within, without)]
        clear = (within - without).transpose(1, 2, 0)[at]
        assert (left[0] - left[1]) / clear == pytest.approx(np.repeat(through[at][:, None], 3, 1), abs=2e-3)


def test_width_map_is_the_width_of_the_vessels_that_were_drawn() -> None:
    rng = np.random.default_rng(3)
    eye = draw_anatomy(rng)
    trunk = grow(rng, eye)[0]
    alone = replace(
        trunk,
        points=(0.2 + 0.5j + np.linspace(0, 0.6, trunk.points.shape[1]))[None],
        widths=np.full((1, trunk.points.shape[1]), 0.02),
        lengths=np.array([0.6]),
    )
    vessels = draw([alone], replace(eye, macula=(0.9, 0.1)), 256)
    across = vessels.cover[:, 128]
    assert across.sum() / 256 == pytest.approx(0.02, abs=0.0015)
    assert vessels.width[:, 128].max() == pytest.approx(0.02, abs=0.0015)
    assert np.flatnonzero(across > COVERED).mean() == pytest.approx(127.5, abs=1)


def test_a_clean_photograph_is_wholly_visible() -> None:
    for index in range(20):
        made = sample(0, index, 64, {})
        assert (made.visibility, made.label) == (1.0, 0)
        assert made.severity == dict.fromkeys(AXES, 0.0)
        assert np.array_equal(made.quality > 0.7, made.fov)


def test_what_a_photograph_is_made_of() -> None:
    for index in range(40):
        made = sample(1, index)
        assert made.rgb.shape == (128, 128, 3)
        assert made.rgb.dtype == np.uint8
        assert not made.rgb[~made.fov].any()
        assert not made.quality[~made.fov].any()
        assert (made.quality.dtype, made.fov.dtype) == (np.float32, bool)
        assert 0 <= made.quality.min() <= made.quality.max() <= 1
        assert 0 <= made.visibility <= 1
        assert 0.6 < made.fov.mean() < 0.75
        for mask, least, most in ((made.vessels, 0.04, 0.2), (made.disc, 0.008, 0.03), (made.lesions, 0, 0.12)):
            assert mask.dtype == bool
            assert not (mask & ~made.fov).any()
            assert least <= mask.mean() <= most


def test_structures_are_where_the_masks_say() -> None:
    for index in range(10):
        made = sample(2, index, 128, {})
        green, rest = made.rgb[..., 1].astype(float), made.fov & ~made.vessels & ~made.disc & ~made.lesions
        assert green[made.vessels & ~made.disc & ~made.lesions].mean() < green[rest].mean() - 10
        assert green[made.disc & ~made.vessels].mean() > green[rest].mean() + 20


def test_same_bytes_in_any_order_and_process() -> None:
    ahead = [sample(5, i, 96) for i in range(6)]
    back = [sample(5, i, 96) for i in reversed(range(6))]
    assert all(same(a, b) for a, b in zip(ahead, reversed(back), strict=True))
    code = (
        "import hashlib\nfrom benchwright.adapters.worlds.fundus.world import sample\n"
        "print(*[hashlib.sha256(sample(5, i, 96).rgb.tobytes()).hexdigest() for i in (4, 2)])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert said == [hashlib.sha256(ahead[i].rgb.tobytes()).hexdigest() for i in (4, 2)]


def test_seeds_and_numbers_are_other_eyes() -> None:
    shown = {(seed, i): sample(seed, i, 64, {}).vessels.tobytes() for seed in (0, 1, 2) for i in range(4)}
    assert len(set(shown.values())) == len(shown)
    drawn = [tuple(world.drawn_severity(seed, i).items()) for seed in (0, 1) for i in range(50)]
    assert drawn[:50] != drawn[50:]


def test_the_eye_does_not_depend_on_what_is_wrong_with_its_photograph() -> None:
    clean, given = sample(0, 7, severity={}), sample(0, 7, severity=dict.fromkeys(AXES, 0.9))
    for part in ("fov", "vessels", "disc", "lesions"):
        assert np.array_equal(getattr(clean, part), getattr(given, part))
    drawn = sample(0, 7)
    assert same(drawn, sample(0, 7, severity=drawn.severity))


@pytest.mark.parametrize("size", [64, 224, 512])
def test_the_same_eye_at_every_size(size: int) -> None:
    for index in range(3):
        other, made = sample(0, index, size), sample(0, index, 128)
        assert other.rgb.shape == (size, size, 3)
        assert other.visibility == pytest.approx(made.visibility, abs=0.06)
        shrunk = [cv2.resize(m.rgb, (64, 64), interpolation=cv2.INTER_AREA).astype(float) for m in (other, made)]
        assert np.corrcoef(shrunk[0].ravel(), shrunk[1].ravel())[0, 1] > 0.985
        for part in ("fov", "disc"):
            assert getattr(other, part).mean() == pytest.approx(getattr(made, part).mean(), rel=0.08)


@pytest.mark.parametrize("axis", AXES)
def test_one_axis_makes_the_same_eye_worse(axis: str) -> None:
    for index in range(8):
        made = [sample(0, index, severity={axis: value}) for value in SWEEP]
        seen = np.array([m.visibility for m in made])
        assert (np.diff(seen) <= 1e-6).all()
        assert seen[-1] < 0.95
        quality = np.array([m.quality[m.fov].mean() for m in made])
        assert (np.diff(quality) < 0).all()
        assert all(a.label <= b.label for a, b in pairwise(made))
        away = [np.square(m.rgb.astype(float) - made[0].rgb).mean() for m in made]
        assert (np.diff(away) > 0).all()


@pytest.mark.parametrize("axis", AXES)
def test_degradation_of_a_real_photograph_grows_with_severity(shared: Path, axis: str) -> None:
    picture = cv2.imread(str(shared / "data/fundus/cc0_skimage/retina.jpg"))
    rgb = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA)[..., ::-1].astype(np.float32) / 255
    fov = rgb.max(-1) > 0.08
    for index in range(8):
        shown = [degraded(rgb, fov, degradation({axis: value}, 224, 0, index)) for value in SWEEP]
        assert np.allclose(shown[0], rgb * fov[..., None])
        assert all(s.dtype == np.float32 and s.min() >= 0 and s.max() <= 1.0001 for s in shown)
        away = [np.square(s - shown[0]).mean() for s in shown]
        assert (np.diff(away) > 0).all(), index


def test_blur_takes_no_light_from_outside_the_field_of_view() -> None:
    fov = field_of_view(draw_anatomy(np.random.default_rng(0)), 128)
    grey = np.full((3, 128, 128), 0.5, np.float32)
    assert blurred(grey, fov, Blur(0.02, 0.03, 1.0))[:, fov] == pytest.approx(0.5, abs=1e-4)


def test_the_label_is_visibility_cut_in_two_places() -> None:
    made = [sample(0, i, 64) for i in range(1000)]
    assert all(m.label == visibility.label(m.visibility) for m in made)
    assert [visibility.label(v) for v in (1, visibility.GOOD, visibility.GOOD - 1e-9)] == [0, 0, 1]
    assert [visibility.label(v) for v in (visibility.USABLE, visibility.USABLE - 1e-9, 0)] == [1, 2, 2]
    shares = np.bincount([m.label for m in made], minlength=3) / len(made)
    assert shares == pytest.approx([0.50, 0.28, 0.22], abs=0.04)
    widths = [np.median(_widths(i)) for i in range(60)]
    assert np.median(widths) == pytest.approx(visibility.REFERENCE_WIDTH, rel=0.1)


def _widths(index: int) -> np.ndarray:
    rng = np.random.default_rng(index)
    eye = draw_anatomy(rng)
    vessels = draw(grow(rng, eye), eye, 128)
    return vessels.width[(vessels.cover > COVERED) & field_of_view(eye, 128)]


def test_severities_are_drawn_as_stated() -> None:
    drawn = [world.drawn_severity(0, i) for i in range(1000)]
    counts = np.bincount([len(s) for s in drawn], minlength=4) / len(drawn)
    assert counts == pytest.approx([0.18, 0.42, 0.28, 0.12], abs=0.04)
    values = [value for s in drawn for value in s.values()]
    assert np.mean(values) == pytest.approx(1.1 / 2.7, abs=0.03)
    assert all(sum(axis in s for s in drawn) == pytest.approx(335, abs=60) for axis in AXES)


def test_images_are_written_with_their_labels(tmp_path: Path) -> None:
    arguments = ["worlds", "images", "fundus", "--out", str(tmp_path / "out"), "--number", "4", "--size", "96"]
    done = CliRunner().invoke(app, [*arguments, "--seed", "3"], catch_exceptions=False)
    assert done.exit_code == 0
    with (tmp_path / "out/labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "quality", "visibility", *AXES]
    for index, row in enumerate(rows):
        made = sample(3, index, 96)
        assert row["image"] == f"fundus-{index:05d}.png"
        assert int(row["quality"]) == made.label
        assert float(row["visibility"]) == pytest.approx(made.visibility, abs=1e-6)
        assert [float(row[axis]) for axis in AXES] == pytest.approx([made.severity[a] for a in AXES], abs=1e-6)
        assert np.array_equal(cv2.imread(str(tmp_path / "out/images" / row["image"]))[..., ::-1], made.rgb)
        read = cv2.imread(str(tmp_path / "out/quality" / row["image"]), cv2.IMREAD_UNCHANGED)
        assert read / 255 == pytest.approx(made.quality, abs=0.002)
    assert len(rows) == 4
    with pytest.raises(UsageError, match="not empty"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert CliRunner().invoke(app, [*arguments, "--force"], catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["fundu", "--out", "x"], "did you mean 'fundus'"), (["fundus", "--size", "32", "--out", "x"], "between 64")],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    arguments = [str(tmp_path / a) if a == "x" else a for a in arguments]
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(app, ["worlds", "images", *arguments], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("severity", "message"),
    [({"blurr": 0.5}, "did you mean 'blur'"), ({"haze": 1.5}, "haze: 1.5 is not"), ({"haze": float("nan")}, "nan")],
)
def test_severities_are_checked(severity: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sample(0, 0, 64, severity)


def test_axes_and_command_import_nothing_heavy() -> None:
    code = "import sys\nimport benchwright.adapters.worlds.fundus\nimport benchwright.adapters.worlds.commands\n"
    code += "sys.exit(bool({'cv2', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
