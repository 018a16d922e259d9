"""Make the data that ships with the quickstart: `python tests/data/make_quickstart.py`. Invented throughout."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

OUT = Path(__file__).parents[2] / "specs" / "data" / "quickstart"
CLASSES = ("Good", "Usable", "Reject")


def grading(count: int = 300) -> dict[str, list[list[object]]]:
    """Labels of invented patients, both eyes each, and the outputs of two imaginary graders of unequal care."""
    rng = np.random.default_rng(1)
    names = [f"{1000 + i // 2}_{'left' if i % 2 == 0 else 'right'}.jpeg" for i in range(2 * count)]
    labels = rng.choice(3, 2 * count, p=[0.5, 0.3, 0.2])
    tables: dict[str, list[list[object]]] = {
        "train_labels": [
            ["image", "quality"],
            *([n, int(q)] for n, q in zip(names[:count], labels[:count], strict=True)),
        ],
        "labels": [
            ["image", "quality"],
            *([n, int(q)] for n, q in zip(names[count:], labels[count:], strict=True)),
        ],
    }
    for grader, care in (("careful", 2.6), ("hasty", 1.6)):
        logits = rng.normal(size=(count, 3)) + care * np.eye(3)[labels[count:]]
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        rows = ([n, *(f"{x:.6f}" for x in row)] for n, row in zip(names[count:], p, strict=True))
        tables[f"predictions_{grader}"] = [["image", *CLASSES], *rows]
    return tables


def main() -> None:
    """Write the files."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, rows in grading().items():
        with (OUT / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
