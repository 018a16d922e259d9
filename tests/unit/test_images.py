"""Reading pictures, finding them by name, their field of view and colour spaces."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchwright.adapters.vision.colour import in_space
from benchwright.adapters.vision.fundus import field_of_view, prepared, resized
from benchwright.adapters.vision.images import find_images, index, read_image
from benchwright.errors import DataError


def scene(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth colour picture without any symmetry."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 4, columns * 3, rows + 2 * columns], axis=-1).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str, mode: str | None = None, **how: Any) -> bytes:
    stream = BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(stream, kind, **how)
    return stream.getvalue()


def read(content: bytes) -> np.ndarray:
    return read_image(BytesIO(content))


# Reading


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_lossless_files_give_the_pixels_back(tmp_path: Path, compression: str | None) -> None:
    file = tmp_path / "a.tif"
    file.write_bytes(encoded(scene(), "TIFF", compression=compression))
    assert np.array_equal(read_image(file), scene())
    assert np.array_equal(read(encoded(scene(), "PNG")), scene())


def test_modes_become_rgb() -> None:
    grey = scene()[..., 0]
    assert np.array_equal(read(encoded(grey, "PNG")), np.repeat(grey[..., None], 3, axis=2))
    for kind in ("PNG", "TIFF"):
        deep = read(encoded(grey.astype(np.uint16) * 257 + 100, kind))
        assert np.array_equal(deep[..., 0], grey), kind
        assert deep.dtype == np.uint8
    assert np.array_equal(
        read(encoded(scene(), "PNG", "P")), np.array(Image.fromarray(scene()).convert("P").convert("RGB"))
    )
    assert np.array_equal(read(encoded(scene(), "TIFF", "CMYK")), scene())
    assert set(np.unique(read(encoded(grey > 90, "PNG")))) == {0, 255}


def test_what_is_transparent_is_laid_over_black() -> None:
    alpha = np.zeros(scene().shape[:2], np.uint8)
    alpha[:, :32] = 255
    found = read(encoded(np.dstack([scene(), alpha]), "PNG"))
    assert np.array_equal(found[:, :32], scene()[:, :32])
    assert not found[:, 32:].any()


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)],
)
def test_pictures_are_upright(orientation: int, upright: Callable[[np.ndarray], np.ndarray]) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(read(encoded(scene(), kind, exif=exif)), upright(scene()))


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
def test_a_file_that_is_cut_off_anywhere_is_refused_or_whole(kind: str, how: dict[str, Any]) -> None:
    content = encoded(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8), kind, **how)
    whole, refused, cuts = read(content), 0, range(1, len(content), len(content) // 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of TIFF files
        for cut in cuts:
            try:
                assert np.array_equal(read(content[:cut]), whole)
            except DataError:
                refused += 1
    # What is behind the last pixel may be missing.
    assert refused > 0.95 * len(cuts)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"image,label\n1.png,0\n", "is no JPEG"),
        (encoded(scene(), "GIF"), "is no JPEG"),
        (encoded(scene()[..., 0].astype(np.float32), "TIFF"), "no known range"),
    ],
)
def test_errors_name_the_file_and_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "eye.png"
    file.write_bytes(content)
    with pytest.raises(DataError, match=why) as told:
        read_image(file)
    assert str(file) in str(told.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: cannot be read \(No such file"):
        read_image(tmp_path / "gone.png")


def test_dicom_without_pydicom_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"a\.dcm: .*pip install pydicom"):
        read_image(tmp_path / "a.dcm")


def dicom(pixels: np.ndarray, photometric: str, bits: int) -> bytes:
    pydicom = pytest.importorskip("pydicom", minversion="3")
    record = pydicom.Dataset()
    record.file_meta = pydicom.dataset.FileMetaDataset()
    record.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    record.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    record.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    record.Rows, record.Columns = pixels.shape[:2]
    record.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    record.PlanarConfiguration = 0
    record.PhotometricInterpretation = photometric
    record.BitsAllocated, record.BitsStored, record.HighBit = 8 * pixels.itemsize, bits, bits - 1
    record.PixelRepresentation = 0
    record.PixelData = pixels.tobytes()
    stream = BytesIO()
    pydicom.dcmwrite(stream, record, enforce_file_format=True)
    return stream.getvalue()


def test_dicom() -> None:
    assert np.array_equal(read(dicom(scene(), "RGB", 8)), scene())
    grey = scene()[..., 0]
    assert np.array_equal(read(dicom(grey, "MONOCHROME1", 8))[..., 2], 255 - grey)
    twelve = grey.astype(np.uint16) * 16
    assert np.array_equal(read(dicom(twelve, "MONOCHROME2", 12))[..., 0], np.rint(twelve / 4095 * 255))
    with pytest.raises(DataError, match="cannot be read as DICOM"):
        read(dicom(scene(), "RGB", 8)[:-500])


# Listing and finding


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_folders_are_listed_in_natural_order(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "img10.png",
        "img2.JPG",
        "b/1.tiff",
        "a10/1.dcm",
        "a9/1.jpeg",
        "notes.txt",
        ".hidden.png",
        ".git/x.png",
    )
    found = [file.relative_to(tmp_path).as_posix() for file in find_images([tmp_path])]
    assert found == ["a9/1.jpeg", "a10/1.dcm", "b/1.tiff", "img2.JPG", "img10.png"]


def test_files_stay_as_given_and_come_once(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "b.png", "scan.raw")
    last, odd = tmp_path / "b.png", tmp_path / "scan.raw"
    assert find_images([last, odd, tmp_path, tmp_path / "." / "a.png"]) == [last, odd, tmp_path / "a.png"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    tree(tmp_path, "data/train/1.png", "store/2.png")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "train" / "up").symlink_to(tmp_path / "data")
    assert [file.name for file in find_images([tmp_path / "data"])] == ["2.png", "1.png"]


def test_paths_without_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: has no images"):
        find_images([tmp_path / "empty"])
    with pytest.raises(DataError, match="gone: no such file or folder"):
        find_images([tmp_path / "gone"])
    with pytest.raises(DataError, match="gone: no such folder"):
        index(tmp_path / "gone")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("1_right.jpeg", "eyeq/1_right.png"),
        ("265_l1", "265/265_l1.jpg"),
        ("265\\265_l1.jpg", "265/265_l1.jpg"),
        ("\\regular\\265\\265_l1", "265/265_l1.jpg"),
        ("left/7.png", "left/7.png"),
        ("right/7.jpeg", "right/7.png"),
        ("root/right/7.png", "right/7.png"),
        ("v1.2_l1", "v1.2_l1.jpg"),
        ("both.png", "both.png"),
        ("both.jpeg", "sub/both.jpeg"),
        ("both.tif", None),
    ],
)
def test_names_of_lists_are_found(tmp_path: Path, name: str, file: str | None) -> None:
    there = [
        "eyeq/1_right.png",
        "265/265_l1.jpg",
        "left/7.png",
        "right/7.png",
        "v1.2_l1.jpg",
        "both.png",
        "sub/both.jpeg",
    ]
    find = index(tree(tmp_path, *there))
    if file is None:
        with pytest.raises(DataError, match=r"both\.png or sub/both\.jpeg"):
            find(name)
    else:
        assert find(name) == tmp_path / file


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    find = index(tree(tmp_path, "left/7.png", "right/7.png", "10_left.png"))
    with pytest.raises(DataError, match=r"'7.png' may be left/7.png or right/7.png"):
        find("7.png")
    with pytest.raises(DataError, match=r"no image for '10_lift.png'; did you mean '10_left.png'"):
        find("10_lift.png")
    with pytest.raises(DataError, match="no image for ''"):
        find("")


# Field of view


def fundus(size: int = 240, radius: float = 0.46, light: float = 1.0, noise: float = 0.0) -> np.ndarray:
    """A shaded, reddish disc with dark vessels on black, with sensor noise everywhere."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    away = np.hypot(rows, columns) / (radius * size)
    shade = (1 - 0.3 * away**2) * (1 - 0.4 * (np.abs(np.sin(rows / 17) * 30 - columns) < 2))
    picture = shade[..., None] * np.array([190, 100, 50]) * (away <= 1)[..., None] * light
    picture += np.random.default_rng(0).normal(2 * noise, noise, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("light", [1.0, 0.3, 0.1, 0.05])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_dark_and_noisy_fundus_photographs_pass(light: float, noise: float) -> None:
    found = field_of_view(fundus(light=light, noise=noise))
    assert found.radius == pytest.approx(0.46 * 240, abs=4)
    assert found.centre == pytest.approx((119.5, 119.5), abs=4)
    top, left, height, width = found.bbox
    assert not found.mask[:top].any()
    assert found.mask[top : top + height, left : left + width].sum() == found.mask.sum()


@pytest.mark.parametrize("rows", [1.0, 0.8, 0.7])
@pytest.mark.parametrize("columns", [1.0, 0.9])
def test_a_fundus_that_fills_the_frame_or_is_cut_off_passes(rows: float, columns: float) -> None:
    high, wide = (round(300 * (1 - share) / 2) for share in (rows, columns))
    found = field_of_view(fundus(300, radius=0.5)[high : 300 - high, wide : 300 - wide])
    assert found.radius == pytest.approx(150, rel=0.05)
    assert found.mask.mean() > 0.75


def photographs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    across = np.linspace(0, 255, 240)[None, :, None] * np.ones((200, 1, 3))
    page = np.full((300, 220, 3), 250)
    page[20:280:12, 20:200] = 10
    inside = fundus(400)[130:270, 130:270]
    blocks = np.kron(rng.integers(30, 256, (6, 8, 3)), np.ones((40, 40, 1)))
    found = {
        "black": np.zeros((200, 200, 3)),
        "white": np.full((200, 200, 3), 255),
        "noise": rng.integers(0, 256, (200, 200, 3)),
        "dark noise": rng.integers(0, 4, (200, 200, 3)),
        "gradient": across,
        "page": page,
        "scene": blocks,
        "cut out of the retina": inside,
        "tiny": fundus(24),
    }
    return {name: pixels.astype(np.uint8) for name, pixels in found.items()}


@pytest.mark.parametrize("name", list(photographs()))
def test_what_is_no_fundus_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="no field of view found"):
        prepared(photographs()[name], "field_of_view")
    rgb, fov = prepared(photographs()[name], "none")
    assert rgb.shape == (*fov.shape, 3)


def test_prepared_is_square_and_black_outside() -> None:
    picture = fundus(noise=1.0)[30:]
    rgb, fov = prepared(picture, "field_of_view")
    found = field_of_view(picture)
    assert rgb.shape == (*fov.shape, 3)
    assert fov.shape[0] == fov.shape[1] == max(found.bbox[2:])
    assert fov.sum() == found.mask.sum()
    assert not rgb[~fov].any()
    assert rgb.sum() == picture[found.mask].sum()


def test_without_a_crop_the_frame_counts() -> None:
    rgb, fov = prepared(scene(3, 6), "none")
    assert np.array_equal(fov, np.repeat([[False], [True], [True], [True], [False], [False]], 6, axis=1))
    assert np.array_equal(rgb[1:4], scene(3, 6))


def test_shrinking_averages_and_enlarging_keeps_the_mean() -> None:
    rgb, fov = prepared(scene(32, 32), "none")
    half, inside = resized(rgb, fov, 16)
    assert np.array_equal(half, np.floor(rgb.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3)) + 0.5))
    assert inside.all()
    checks = np.indices((8, 8)).sum(0) % 4 == 0
    assert np.array_equal(resized(rgb[:8, :8], checks, 4)[1], checks.reshape(4, 2, 4, 2).mean(axis=(1, 3)) >= 0.5)
    large, _ = resized(rgb, fov, 64)
    assert large.mean() == pytest.approx(rgb.mean(), abs=0.5)
    disc = fundus(128)[..., 0] > 20
    assert resized(fundus(128), disc, 300)[1].mean() == pytest.approx(disc.mean(), rel=0.01)


# Colour spaces


def test_hsv_of_pure_colours() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]], np.uint8)
    expected = [[[0, 255, 255], [85, 255, 255], [170, 255, 255], [0, 0, 128]]]
    assert in_space(colours, "hsv").tolist() == expected
    assert np.array_equal(in_space(colours, "rgb"), colours)


def test_lab_is_cielab_under_d50_with_signed_bytes() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (1, 200, 3)).astype(np.uint8)
    share = colours[0] / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    # sRGB to XYZ, adapted to D50 (Lindbloom), over its white.
    matrix = [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
    xyz = linear @ np.array(matrix).T / np.array([0.9642, 1.0, 0.8249])
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29).T
    found = in_space(colours, "lab")[0]
    assert np.abs(found[:, 0] - (116 * y - 16) * 2.55).max() < 1.5
    for channel, expected in ((1, 500 * (x - y)), (2, 200 * (y - z))):
        assert np.abs(found[:, channel].astype(np.int8) - np.clip(expected, -128, 127)).max() < 1.5
