"""What selecting rows is worth to a student: `python benchmarks/instruct/chores.py [--seeds N] [--write]`.

Each seed is a world of its own. An arm is a selection; of what it keeps, as many rows (or tokens) are drawn as the
budget has, the base model is taught on them, and answers the test questions. Differences are to the arm `random`, seed
by seed, with a 95 % t-interval over seeds. One thread; CPU seconds are of one arm: teaching and scoring.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchwright.adapters.worlds.chores.base import open_base
from benchwright.adapters.worlds.chores.language import VERBS, Chore
from benchwright.adapters.worlds.chores.student import Recipe, drawn, learned, scored, tokens_of
from benchwright.adapters.worlds.chores.world import Chores, chores
from benchwright.provenance import environment

BUDGETS = {"rows": 640, "tokens": 11_000}
"""What every arm can fill, the spoilt rows alone too."""
PASSES = 8
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 8: 2.365, 10: 2.262}
"""Student's t for a two-sided 95 % interval, by number of seeds."""


def without_duplicates(world: Chores) -> Sequence[Chore]:
    """The first of all rows that say the same."""
    first = {(row.instruction, row.input, row.output): row for row in reversed(world.pool)}
    return [row for row in world.pool if first[row.instruction, row.input, row.output] is row]


def without_empty_and_echo(world: Chores) -> Sequence[Chore]:
    """Rows with an answer that is not the input: an easy rule, which turns all copying away."""
    return [row for row in world.pool if row.output not in ("", row.input)]


ARMS: Mapping[str, Callable[[Chores], Sequence[Chore]]] = {
    "random": lambda world: world.pool,
    "oracle": Chores.oracle,
    "spoilt": Chores.spoilt,
    "no exact duplicates": without_duplicates,
    "no empty, no echo": without_empty_and_echo,
}


def taught(lm: Any, world: Chores, kept: Sequence[Chore], unit: str, seed: int) -> dict[str, Any]:
    """What the student gets right after it was taught on a part of the rows that were kept."""
    start = time.process_time()
    by_id = {row.id: row for row in kept}
    costs = tokens_of(lm, [(row.prompt, row.output) for row in kept]) if unit == "tokens" else [1] * len(kept)
    some = drawn(dict(zip(by_id, costs, strict=True)), BUDGETS[unit], seed)
    recipe = Recipe(shown=PASSES * BUDGETS[unit], unit=unit)
    patch = learned(lm, [(by_id[name].prompt, by_id[name].output) for name in some], recipe, seed)
    with patch.applied(lm):
        right = scored(lm, [(row.prompt, row.output) for row in world.tests])
    assert not lm.verify()
    values: dict[str, list[bool]] = {verb: [] for verb in VERBS}
    by_care: dict[bool, list[bool]] = {True: [], False: []}
    for row, value in zip(world.tests, right, strict=True):
        values[row.verb].append(value)
        by_care[row.kind in world.careless].append(value)
    return {
        "right": statistics.mean(right),
        "careless": statistics.mean(by_care[True]),
        "others": statistics.mean(by_care[False]),
        "verbs": {verb: statistics.mean(own) for verb, own in values.items()},
        "rows": len(some),
        "spoilt": sum(name in world.defects for name in some) / len(some),
        "cpu_s": time.process_time() - start,
    }


def summary(seeds: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds, and the difference to `base` with its interval."""
    gains = [one["right"] - other["right"] for one, other in zip(seeds, base, strict=True)]
    half = T95[len(gains)] * statistics.stdev(gains) / len(gains) ** 0.5
    names = ("right", "careless", "others", "rows", "spoilt", "cpu_s")
    return {
        **{name: round(statistics.mean(one[name] for one in seeds), 3) for name in names},
        "verbs": {v: round(statistics.mean(one["verbs"][v] for one in seeds), 3) for v in VERBS},
        "by seed": [round(one["right"], 3) for one in seeds],
        "to random": [round(statistics.mean(gains) + side * half, 3) for side in (0, -1, 1)],
    }


def main() -> None:
    """Measure, print, and with `--write` keep the result in ../results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, choices=sorted(T95))
    parser.add_argument("--write", action="store_true", help="write results/instruct-chores-cpu.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lm = open_base()
    worlds = [chores(seed) for seed in range(asked.seeds)]
    untaught = [scored(lm, [(row.prompt, row.output) for row in world.tests]) for world in worlds]
    found: dict[str, Any] = {"untaught": round(statistics.mean(map(statistics.mean, untaught)), 3)}
    print("untaught", found["untaught"])
    for unit, budget in BUDGETS.items():
        runs = {
            arm: [taught(lm, world, select(world), unit, seed) for seed, world in enumerate(worlds)]
            for arm, select in ARMS.items()
        }
        found[unit] = {arm: summary(seeds, runs["random"]) for arm, seeds in runs.items()}
        for arm, row in found[unit].items():
            print(f"{budget} {unit}  {arm:20}", json.dumps(row))
    if asked.write:
        result = {
            "unit": "share of test questions answered exactly; `to random`: gain and its 95 % interval over seeds",
            "seeds": asked.seeds,
            "budgets": BUDGETS,
            "passes": PASSES,
            "found": found,
            "environment": environment(),
        }
        file = Path(__file__).parents[1] / "results" / "instruct-chores-cpu.json"
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
