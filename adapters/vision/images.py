"""Pictures on disk: reading them as 8-bit RGB, listing them, finding them by the names of a label list."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from io import BytesIO
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ...digests import files_below
from ...errors import DataError, closest

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".dcm")
"""Of the files that a folder is searched for, in either case."""
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error)
"""What decoders raise for bytes that break a format."""


def read_image(file: Path | BinaryIO) -> np.ndarray:
    """A picture as (H, W, 3) RGB, uint8, upright; a stream is read to its end.

    JPEG, PNG, TIFF (its first page) and DICOM are told apart by their content. The orientation of the EXIF is applied;
    grey is repeated three times; what is transparent is laid over black; 16-bit grey is divided by 257 and rounded,
    while of 16-bit colours the high byte is kept, as Pillow does. Colour profiles are ignored.

    Raises DataError for a file that is missing, empty, cut off, no image, or has pixels of an unknown range.
    """
    name = str(file) if isinstance(file, Path) else "the picture"
    try:
        content = file.read_bytes() if isinstance(file, Path) else file.read()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}); expected an image") from error
    if not content:
        raise DataError(f"{name}: is empty; expected an image")
    # A DICOM file begins with 128 bytes of anything.
    return _dicom(content, name) if content[128:132] == b"DICM" else _picture(content, name)


def _picture(content: bytes, name: str) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(BytesIO(content), formats=("JPEG", "PNG", "TIFF")) as image:
            kind = image.format
            image.load()
            return _rgb(ImageOps.exif_transpose(image), kind)
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: is no JPEG, PNG, TIFF or DICOM image, or its header is cut off") from error
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: cannot be read as an image ({error})") from error


def _rgb(image: Image.Image, kind: str | None) -> np.ndarray:
    """Raises ValueError for a picture whose black and white are not known."""
    from PIL import Image

    # Some versions of Pillow open 16-bit PNG files with the mode of 32 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):
        return _three((np.asarray(image).astype(np.uint32) + 128) // 257)
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels have no known range; convert it to 8 or 16 bits")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.new("RGB", clear.size)
        image.paste(clear, mask=clear.getchannel("A"))
    return np.array(image.convert("RGB"))


def _three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _dicom(content: bytes, name: str) -> np.ndarray:
    """Pixels of `BitsStored` bits are scaled to 8; windows (VOI LUT) are not applied."""
    try:
        pydicom, pixels, errors = map(import_module, ("pydicom", "pydicom.pixels", "pydicom.errors"))
    except ImportError as error:
        raise DataError(f"{name}: DICOM needs pydicom, version 3 or newer: pip install pydicom") from error
    unlike = errors.InvalidDicomError, errors.BytesLengthException
    try:
        record = pydicom.dcmread(BytesIO(content))
        frames = int(record.get("NumberOfFrames") or 1)
        if frames != 1:
            raise DataError(f"{name}: holds {frames} frames; expected one picture")
        found = pixels.pixel_array(record)  # YCbCr becomes RGB here
        bits = int(record.BitsStored)
        photometric = str(record.PhotometricInterpretation)
        if photometric == "PALETTE COLOR":
            found = pixels.apply_color_lut(found, record)
            bits = 8 * found.dtype.itemsize
    except (*_BROKEN, *unlike, AttributeError, RuntimeError) as error:
        raise DataError(f"{name}: cannot be read as DICOM ({error})") from error
    white = 2**bits - 1
    values = found.astype(np.int64) + (2 ** (bits - 1) if found.dtype.kind == "i" else 0)
    scaled = np.clip((values * 255 + white // 2) // white, 0, 255)
    if photometric == "MONOCHROME1":
        scaled = 255 - scaled
    return _three(scaled) if scaled.ndim == 2 else scaled.astype(np.uint8)


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Files as they are given, each folder's images below it in natural order (img2 before img10), each file once.

    Hidden files and folders are left out, links are followed. Raises DataError for a path that does not exist and
    for a folder without images.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        for file in [path / inner for inner in _listed(path)] if path.is_dir() else [path]:
            found.setdefault(os.path.abspath(file), file)
    return list(found.values())


def _listed(folder: Path) -> list[PurePosixPath]:
    """Images below a folder, relative to it, in natural order."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of images")
    found = sorted(_walk(folder), key=lambda path: [natural(part) for part in path.parts])
    if not found:
        raise DataError(f"{folder}: has no images in it; looked for {', '.join(SUFFIXES)}")
    return found


def _walk(folder: Path) -> Iterator[PurePosixPath]:
    return (PurePosixPath(file.as_posix()) for file in files_below(folder) if file.name.lower().endswith(SUFFIXES))


def natural(text: str) -> tuple[list[str | int], str]:
    """Sorts as people count.

    >>> sorted(["img10", "img2", "Img1"], key=natural)
    ['Img1', 'img2', 'img10']
    """
    pieces = re.split(r"([0-9]+)", text.casefold())
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], text


def index(folder: Path) -> Callable[[str], Path]:
    r"""Finds the file of a name in a label list, anywhere below a folder, which is listed once.

    That is the file at this relative path, else the one with this file name, else the one with this stem: lists and
    folders disagree about suffixes (1_right.jpeg, 1_right.png) and about folders. Of several files, those count that
    lie in the folders the name ends with. `\` separates folders as `/` does.

    Raises DataError for a folder without images; the finder, when no file fits or several fit equally well.
    """
    files = _listed(folder)
    paths = {str(file): file for file in files}
    names, stems = _grouped(files, str), _grouped(files, _stem)

    def find(name: str) -> Path:
        *folders, last = [part for part in re.split(r"[\\/]", name.strip()) if part not in ("", ".")] or [""]
        exact = paths.get("/".join((*folders, last)))
        if exact is not None:
            return folder / exact
        fitting = _deepest(names.get(last, ()), folders) or _deepest(stems.get(_stem(last), ()), folders)
        if len(fitting) > 1:
            raise DataError(f"{folder}: {name!r} may be {fitting[0]} or {fitting[1]}; say which by its folder")
        if not fitting:
            near = closest(last, names)
            raise DataError(f"{folder}: no image for {name!r}" + (f"; did you mean {near!r}?" if near else ""))
        return folder / fitting[0]

    return find


def _stem(name: str) -> str:
    """Without the suffix, when it is one of an image: 265.1_l1 has none."""
    stem, dot, suffix = name.rpartition(".")
    return stem if (dot + suffix).lower() in SUFFIXES else name


def _grouped(files: Iterable[PurePosixPath], key: Callable[[str], str]) -> Mapping[str, list[PurePosixPath]]:
    groups: dict[str, list[PurePosixPath]] = {}
    for file in files:
        groups.setdefault(key(file.name), []).append(file)
    return groups


def _deepest(files: Sequence[PurePosixPath], folders: Sequence[str]) -> list[PurePosixPath]:
    """Those that share the most of their innermost folders with `folders`."""

    def shared(file: PurePosixPath) -> int:
        pairs = zip(file.parts[-2::-1], reversed(folders), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    most = max(map(shared, files), default=0)
    return [file for file in files if shared(file) == most]
