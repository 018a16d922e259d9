"""How fast pictures are read, and how fast small networks learn: `python benchmarks/iqa/speed.py [--photos DIR]`.

Wall and CPU seconds on one thread (`--device cuda` for the network; reading uses all cores). Reading is of JPEG
photographs, decoded, cut to the field of view and resized to 224 pixels: of those in DIR, else of painted ones of 512
pixels. `--write` keeps the numbers in results/iqa-speed-DEVICE.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchwright.adapters.iqa.items import Images
from benchwright.adapters.iqa.pictures import FilePicture, sized
from benchwright.adapters.vision.features import handcrafted
from benchwright.adapters.vision.images import find_images
from benchwright.adapters.vision.inputs import planes
from benchwright.adapters.vision.params import Handcrafted
from benchwright.adapters.vision.training import Lesson, predict, train
from benchwright.adapters.worlds.fundus.world import sample
from benchwright.artifacts import ArtifactStore
from benchwright.digests import FileDigests
from benchwright.loading.library import within_reach
from benchwright.loading.resolve import resolve

SMALL = ("tiny-rgb", "guidednet-small", "salstruct-single-small", "salstruct-dual-small", "mcf-small")
LARGE = ("resnet18", "densenet121", "guidednet", "mcf-densenet121")
"""Only on a GPU; from random weights."""
EYES, EPOCHS = 256, 3


def timed(work: Callable[[], Any], each: int) -> dict[str, float]:
    """Milliseconds for one of `each` pictures."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"wall_ms": round(1000 * wall / each, 3), "cpu_ms": round(1000 * cpu / each, 3)}


def reading(files: list[Path], folder: Path) -> dict[str, Any]:
    """Files read for the first time, and read again from the store."""
    digests = FileDigests.load(folder)
    pictures = tuple(FilePicture(file, "field_of_view", digests) for file in files)
    names = tuple(str(n) for n in range(len(files)))
    images = Images(names, np.zeros(len(files), int), names, ({},) * len(files), pictures)
    store = ArtifactStore(folder / "artifacts")

    def read() -> None:
        sized(images, 224, store)

    return {"pictures": len(files), "first": timed(read, len(files)), "again": timed(read, len(files))}


def learning(name: str, device: str) -> dict[str, Any]:
    """Training, for one picture of one epoch, and answering, for one picture."""
    known = within_reach(())
    method = resolve(known, known.get("method", name)).spec.algorithm
    backbone = method.backbone.model_copy(update={"pretrained": False})
    recipe = method.recipe.model_copy(update={"epochs": EPOCHS, "patience": None})
    design = method.model_copy(update={"backbone": backbone, "recipe": recipe})
    eyes = [sample(0, n, min(design.size, 512)) for n in range(EYES)]
    seen = planes(design, np.stack([e.rgb for e in eyes]), np.stack([e.fov for e in eyes]))
    labels = np.array([e.label for e in eyes])
    lesson = Lesson(seen, labels, np.zeros(EYES, bool), 3)
    where: dict[str, Any] = {"device": device, "weights_file": None, "checkpoint": None, "progress": lambda *_: None}
    state = train(design, method.loss, lesson, seed=0, **where)  # the first call sets up
    taught = timed(lambda: train(design, method.loss, lesson, seed=0, **where), EYES * EPOCHS)
    asked = timed(lambda: predict(design, method.loss, 3, state, seen, device=device), EYES)
    return {"train": taught, "predict": asked}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"torch": torch.__version__, "device": arguments.device}
    with tempfile.TemporaryDirectory() as folder:
        files = find_images([arguments.photos]) if arguments.photos else []
        for n in range(0 if files else 64):
            files.append(Path(folder) / f"{n}.jpg")
            Image.fromarray(sample(0, n, 512).rgb).save(files[-1], quality=92)
        found["reading"] = reading(files, Path(folder))
    eyes = [sample(0, n, 128) for n in range(64)]
    groups = Handcrafted(type="handcrafted").groups
    found["handcrafted features, 128 pixels"] = timed(lambda: [handcrafted(e.rgb, e.fov, groups) for e in eyes], 64)
    for name in (*SMALL, *(LARGE if arguments.device.startswith("cuda") else ())):
        found[name] = learning(name, arguments.device)
        print(name, json.dumps(found[name]), flush=True)
    print(json.dumps(found, indent=1))
    if arguments.write:
        kind = arguments.device.partition(":")[0]
        file = Path(__file__).parents[1] / "results" / f"iqa-speed-{kind}.json"
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
