"""Milliseconds for a dark channel: `python benchmarks/iqa/priors.py [--write]`.

Ours against the two ways it is usually written, all three giving the same bytes. The ways take turns, so that a
change of the machine's speed hits all alike; the least of many rounds counts, and the ratios are what to quote. One
thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import minimum_filter

from benchwright.adapters.vision.priors import dark_channel
from benchwright.provenance import environment

CASES = ((224, 15), (800, 15), (800, 35))
"""Sides of the picture and of the window, in pixels."""
SECONDS = 6
"""Spent on each case."""
OURS = "benchwright"
WAYS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    OURS: dark_channel,
    "rgb.min(2), cv2.erode": lambda rgb, patch: cv2.erode(rgb.min(2), np.ones((patch, patch), np.uint8)),
    "rgb.min(2), scipy.ndimage.minimum_filter": lambda rgb, patch: minimum_filter(rgb.min(2), patch, mode="nearest"),
}


def milliseconds(size: int, patch: int) -> dict[str, float]:
    """The least of each way. Raises AssertionError when one gives other bytes."""
    rgb = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)
    expected = dark_channel(rgb, patch)
    for name, way in WAYS.items():
        assert np.array_equal(way(rgb, patch), expected), name
    least = dict.fromkeys(WAYS, float("inf"))
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        for name, way in WAYS.items():
            start = time.perf_counter()
            way(rgb, patch)
            least[name] = min(least[name], time.perf_counter() - start)
    return {name: round(1000 * seconds, 4) for name, seconds in least.items()}


def main() -> None:
    """Measure, print, and with `--write` keep the result in ../results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write results/iqa-priors-cpu.json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    found = {f"{size} px, window {patch}": milliseconds(size, patch) for size, patch in CASES}
    for case, least in found.items():
        for name, value in least.items():
            print(f"{case:18} {name:42} {value:9.4f} ms, {value / least[OURS]:6.1f} times ours")
    if arguments.write:
        result = {"unit": "least milliseconds", "seconds": SECONDS, "cases": found, "environment": environment()}
        file = Path(__file__).parents[1] / "results" / "iqa-priors-cpu.json"
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
