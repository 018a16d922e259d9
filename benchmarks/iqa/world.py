"""CPU seconds for photographs of the fundus world: `python benchmarks/iqa/world.py [--against FILE] [--write]`.

`--against` names a Python file with another world's `sample(seed, index, size)`, here the prototype that this world
replaces; both then make the same numbers of photographs in turn, so that a change of the machine's speed hits both
alike, and the ratio of their median times is what to quote. One thread.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchwright.adapters.worlds.fundus import GRADES
from benchwright.adapters.worlds.fundus.world import sample
from benchwright.provenance import environment

ROUNDS = 10
PHOTOGRAPHS = 100
"""Of a round."""
SIZES = (128, 224)
Painter = Callable[[int, int, int], Any]


def painter(file: Path) -> Painter:
    """The function `sample` of a Python file."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.sample


def per_thousand(painters: dict[str, Painter], size: int) -> dict[str, float]:
    """Median CPU seconds for 1,000 photographs; the first of each warms caches."""
    seconds: dict[str, list[float]] = {name: [] for name in painters}
    for paint in painters.values():
        paint(0, 0, size)
    for start in range(0, ROUNDS * PHOTOGRAPHS, PHOTOGRAPHS):
        for name, paint in painters.items():
            before = time.process_time()
            for index in range(start, start + PHOTOGRAPHS):
                paint(0, index, size)
            seconds[name].append((time.process_time() - before) * 1000 / PHOTOGRAPHS)
    return {name: round(statistics.median(values), 3) for name, values in seconds.items()}


def main() -> None:
    """Measure, print, and with `--write` keep the result in ../results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="a Python file with sample(seed, index, size)")
    parser.add_argument("--write", action="store_true", help="write results/fundus-world-cpu.json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    painters: dict[str, Painter] = {"this world": sample}
    if arguments.against:
        painters["prototype"] = painter(arguments.against)
    found: dict[str, dict[str, float]] = {}
    for size in SIZES:
        found[str(size)] = times = per_thousand(painters, size)
        if arguments.against:
            times["ratio"] = round(times["prototype"] / times["this world"], 2)
        print(size, "pixels:", ", ".join(f"{name} {value}" for name, value in times.items()))
    labels = [sample(0, index).label for index in range(1000)]
    counts = dict(zip(GRADES, np.bincount(labels, minlength=len(GRADES)).tolist(), strict=True))
    print("labels of 1,000:", counts)
    if arguments.write:
        result = {
            "unit": "median CPU seconds for 1,000 photographs, one thread",
            "rounds": ROUNDS,
            "sizes": found,
            "labels of 1000": counts,
            "opencv": cv2.__version__,
            "environment": environment(),
        }
        file = Path(__file__).parents[1] / "results" / "fundus-world-cpu.json"
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
