"""The shipped tasks whose data is the user's: each from a folder in the documented form, with pictures that we make."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from iqa_fixtures import picture

import benchwright as bw
from benchwright.store import Cell

PATIENTS = 10


def listed(folder: Path) -> None:
    """RIQA-RFMiD: lists, and one folder of pictures."""
    for split, first in (("train", 0), ("test", PATIENTS)):
        rows = ["image,quality"]
        for n in range(first, first + PATIENTS):
            picture(folder / "images" / f"{n}.png", n, 0.5 * (n % 3))
            rows.append(f"{n}.png,{n % 3}")
        (folder / f"{split}.csv").write_text("\n".join(rows), encoding="utf-8")


def deepdrid(folder: Path) -> None:
    """Sub-folders for patients, names without suffix, paths with backslashes, 1 is good."""
    columns = "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,Clarity,Field definition,Artifact"
    for split, first in (("training", 0), ("validation", PATIENTS)):
        rows, name = [columns], f"regular-fundus-{split}"
        for n in range(first, first + PATIENTS):
            for eye in ("l1", "r1"):
                good = (n + (eye == "l1")) % 2
                picture(folder / name / "Images" / str(n) / f"{n}_{eye}.jpg", n, 0.0 if good else 1.0)
                rows.append(f"{n},{n}_{eye},\\{name}\\{n}\\{n}_{eye}.jpg,{good},0,8,8,0")
        (folder / name / f"{name}.csv").write_text("\n".join(rows), encoding="utf-8")


def drimdb(folder: Path) -> None:
    """A folder for each class; the outliers are no fundus photographs."""
    for n in range(12):
        picture(folder / "Good" / f"drimdb_good ({n}).jpg", n)
        picture(folder / "Bad" / f"drimdb_bad ({n}).jpg", n, 1.0)
        picture(folder / "Outlier" / f"drimdb_outlier ({n}).jpg", n, 0.5)


@pytest.mark.parametrize(("task", "make"), [("riqa-rfmid", listed), ("deepdrid", deepdrid), ("drimdb", drimdb)])
def test_a_task_from_a_folder_in_its_form(task: str, make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "data")
    run = bw.run(f"task:{task}", "features-forest", data=tmp_path / "data", out=tmp_path / "run")
    cells = {cell.method: cell for cell in run.cells()}
    assert {c.meta["status"] for c in cells.values()} == {"ok"}, [c.meta["error"] for c in cells.values()]
    assert accuracy(cells["features-forest"]) > accuracy(cells["majority-class"])
    assert not cells["features-forest"].meta["warnings"]


def accuracy(cell: Cell) -> float:
    metric = next(m for m in cell.metrics if m.id == "accuracy")
    (sample,) = cell.samples(metric).values()
    return float(metric.value(sample.columns)[0])


def test_training_goes_on_after_a_kill_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    method = tmp_path / "slow.yaml"
    method.write_text(
        "kind: method\nname: slow\nextends: tiny-rgb\nalgorithm: {size: 64, recipe: {epochs: 40}}\n", encoding="utf-8"
    )
    words = [
        sys.executable,
        "-P",
        "-m",
        "benchwright",
        "iqa",
        "train",
        "--method",
        str(method),
        "--task",
        "fundus-small",
    ]

    def train(cache: Path, out: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "BENCHWRIGHT_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([*words, "--out", str(tmp_path / out)], env=environment, stderr=subprocess.DEVNULL)

    assert train(tmp_path / "whole", "whole-net").wait() == 0
    broken = tmp_path / "broken"
    killed = train(broken, "broken-net")
    while killed.poll() is None and not list(broken.glob("artifacts/*.unfinished/**/training.safetensors")):
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert list(broken.rglob("training.safetensors"))
    assert train(broken, "broken-net").wait() == 0
    assert not list(broken.rglob("training.safetensors"))
    files = [tmp_path / name / "learned.safetensors" for name in ("whole-net", "broken-net")]
    assert files[0].read_bytes() == files[1].read_bytes()
