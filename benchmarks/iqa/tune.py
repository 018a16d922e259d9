"""Tune the recipe that all small networks share: `OMP_NUM_THREADS=1 python benchmarks/iqa/tune.py`.

Every combination of GRID trains each of DESIGNS on the training eyes of the embedded world; what is maximised is their
mean macro F1 on eyes of their own, which neither training nor early stopping saw, and no task tests on. `--write` keeps
all results in results/tuning-fundus.json; the best values are those of specs/methods/networks/tiny-rgb.yaml.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from benchwright.adapters.iqa.pictures import sized
from benchwright.adapters.iqa.sources.params import FundusWorld
from benchwright.adapters.vision.inputs import planes
from benchwright.adapters.vision.training import Lesson, predict, train
from benchwright.artifacts import ArtifactStore, artifact_root
from benchwright.loading.library import within_reach
from benchwright.loading.resolve import resolve

GRID: dict[str, list[Any]] = {"lr": [1e-3, 3e-3, 1e-2], "batch_size": [16, 32], "rotate": [0.0, 180.0]}
DESIGNS = ("tiny-rgb", "guidednet-small", "salstruct-single-small")
OTHER_EYES = 1
"""Seed of the world on whose test eyes recipes are judged; tasks use seed 0."""
EYES = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    known, store = within_reach(()), ArtifactStore(artifact_root())
    grading = FundusWorld(type="fundus_world", sweep=None).load({}, None)
    other = FundusWorld(type="fundus_world", seed=OTHER_EYES, train=0, validation=0, test=EYES, sweep=None).load(
        {}, None
    )
    rows = []
    for values in itertools.product(*GRID.values()):
        row = dict(zip(GRID, values, strict=True))
        for name in DESIGNS:
            method = resolve(known, known.get("method", name)).spec.algorithm
            augment = method.recipe.augment.model_copy(update={"rotate": row["rotate"]})
            recipe = method.recipe.model_copy(
                update={"lr": row["lr"], "batch_size": row["batch_size"], "augment": augment}
            )
            design = method.model_copy(update={"recipe": recipe})
            splits = [grading.train, grading.validation]
            pictures = [sized(images, design.size, store) for images in splits]
            seen = Lesson(
                np.concatenate([planes(design, p.rgb, p.fov) for p in pictures]),
                np.concatenate([images.labels for images in splits]),
                np.repeat([False, True], [len(images) for images in splits]),
                3,
            )
            begun = time.process_time()
            where = {"device": "cpu", "weights_file": None, "checkpoint": None, "progress": lambda done, total: None}
            state = train(design, method.loss, seen, seed=0, **where)
            asked = sized(other.test, design.size, store)
            found = predict(design, method.loss, 3, state, planes(design, asked.rgb, asked.fov), device="cpu")
            row[name] = round(float(f1_score(other.test.labels, found.argmax(axis=1), average="macro")), 4)
            row[f"{name}.cpu_s"] = round(time.process_time() - begun, 1)
        row["mean"] = round(fmean(row[name] for name in DESIGNS), 4)
        rows.append(row)
        print(json.dumps(row), flush=True)
    if arguments.write:
        file = Path(__file__).parents[1] / "results" / "tuning-fundus.json"
        file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
