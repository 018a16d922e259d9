"""Pictures and label files for the tests of image quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchwright.adapters.worlds.fundus.world import sample

SIDE = 64


def picture(file: Path, index: int, severity: float = 0.0) -> None:
    """A synthetic fundus photograph, haze of the given severity."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sample(7, index, SIDE, {"haze": severity}).rgb).save(file)


def eyeq_folder(folder: Path, patients: int = 12) -> Path:
    """Lists and folders as EyeQ's: clear eyes are Good, hazy ones Reject; the lists say .jpeg, the files are .png."""
    for split, first in (("train", 0), ("test", patients)):
        rows = [",image,quality,DR_grade"]
        for patient in range(first, first + patients):
            for eye, side in enumerate(("left", "right")):
                bad = (patient + eye) % 2
                picture(folder / split / f"{patient}_{side}.png", 2 * patient + eye, 1.0 if bad else 0.0)
                rows.append(f"{len(rows)},{patient}_{side}.jpeg,{2 * bad},{patient % 2}")
        (folder / f"Label_EyeQ_{split}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def uniform(file: Path, level: int) -> None:
    """A picture that shows nothing."""
    Image.fromarray(np.full((SIDE, SIDE, 3), level, np.uint8)).save(file)
