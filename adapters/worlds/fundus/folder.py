"""Photographs as files, for eyes and for other programs.

images/fundus-00000.png    the photographs
quality/fundus-00000.png   their quality maps, 255 for 1
labels.csv                 image (file name), quality (0 Good, 1 Usable, 2 Reject), visibility, severity of each axis
"""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from . import AXES
from .world import sample

LABELS = "labels.csv"


def write(out: Path, number: int, size: int, seed: int) -> list[int]:
    """Write the first photographs of a world; how many there are of each label. Raises UsageError as `sample` does."""
    images, maps = out / "images", out / "quality"
    for old in (*images.glob("fundus-*.png"), *maps.glob("fundus-*.png")):
        old.unlink()  # of another world, which would not be in the table
    rows: list[dict[str, object]] = []
    for index in range(number):
        made = sample(seed, index, size)
        for folder in (images, maps):
            folder.mkdir(parents=True, exist_ok=True)
        name = f"fundus-{index:05d}.png"
        (images / name).write_bytes(_png(made.rgb[..., ::-1]))
        (maps / name).write_bytes(_png(np.rint(made.quality * 255).astype(np.uint8)))
        severity = {axis: f"{made.severity[axis]:.6f}" for axis in AXES}
        rows.append({"image": name, "quality": made.label, "visibility": f"{made.visibility:.6f}", **severity})
    with (out / LABELS).open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["image", "quality", "visibility", *AXES], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return [sum(row["quality"] == label for row in rows) for label in range(3)]


def _png(pixels: np.ndarray) -> bytes:
    """Blue, green, red, or grey."""
    return cv2.imencode(".png", pixels)[1].tobytes()
