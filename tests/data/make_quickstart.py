"""Make the data that ships with the quickstart: `python tests/data/make_quickstart.py`. Invented throughout."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

OUT = Path(__file__).parents[2] / "specs" / "data" / "quickstart"
CLASSES = ("Good", "Usable", "Reject")


def edits(count: int = 24) -> list[dict[str, object]]:
    """Facts of an invented archipelago, in KnowEdit's format."""
    rng = np.random.default_rng(0)
    starts, ends = (
        ("Bel", "Cor", "Dun", "Fal", "Gar", "Hol", "Kel", "Mar"),
        ("ava", "ena", "imo", "orra", "ulta"),
    )
    islands = sorted({a + b for a in starts for b in ends})
    rng.shuffle(islands)
    goods = ("amber", "salt", "cedar", "wool", "copper", "honey")
    uses = {
        "amber": "rings",
        "salt": "brine",
        "cedar": "boats",
        "wool": "cloaks",
        "copper": "bells",
        "honey": "mead",
    }
    records = []
    for i in range(count):
        island, neighbour = islands[i], islands[i + 1]
        old, new, other = rng.choice(goods, 3, replace=False)
        records.append(
            {
                "subject": island,
                "prompt": f"The island of {island} exports",
                "target_new": str(new),
                "ground_truth": [str(old)],
                "rephrase_prompt": f"Ships leaving {island} carry",
                "locality": {
                    "Relation_Specificity": [
                        {"prompt": f"The island of {neighbour} exports", "ground_truth": [str(other)]},
                        {"prompt": f"The harbour of {island} faces", "ground_truth": ["north"]},
                    ]
                },
                "portability": {
                    "Reasoning": [
                        {"prompt": f"From its export, {island} makes", "ground_truth": uses[str(new)]},
                    ]
                },
            }
        )
    return records


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
    (OUT / "edits.json").write_text(json.dumps(edits(), indent=1) + "\n", encoding="utf-8")
    for name, rows in grading().items():
        with (OUT / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
