"""What the engine itself costs a cell: `python benchmarks/cells.py [--write]`.

Runs the cheapest shipped cells (reading 300 predictions) for many seeds, and measures planning, running, and what
follows (intervals of 39 metrics by 1,000 resamples of every seed, ranks, files) apart, in CPU seconds of this process
and of its workers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchwright as bw
from benchwright.api import library
from benchwright.executors import executor
from benchwright.plan import Options, plan
from benchwright.provenance import environment
from benchwright.runfolder import opened
from benchwright.runner import Runner

SEEDS = 20
TARGETS = ("task:quickstart-grade", "quickstart-careful")


def measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """A result, and CPU (own and children's) and wall seconds."""

    def cpu() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    before, start = cpu(), time.perf_counter()
    result = work()
    return result, {"cpu_s": cpu() - before, "wall_s": time.perf_counter() - start}


def main() -> None:
    """Measure, print, and with `--write` keep the result beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write results/cells.json")
    arguments = parser.parse_args()
    seeds = tuple(range(SEEDS))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENCHWRIGHT_CACHE"] = f"{folder}/cache"
        planned, planning = measured(lambda: plan(library([]), TARGETS, Options(seeds=seeds)))
        with opened(Path(folder) / "run") as run:
            _, running = measured(lambda: Runner(run, executor("local")).run(planned.cells))
        _, showing = measured(bw.Run(run).write)
    count = len(planned.cells)
    found = {"planning": planning, "running and committing": running, "statistics and showing": showing}
    for name, cost in found.items():
        per_cell = {k: 1000 * v / count for k, v in cost.items()}
        print(f"{name:26} {per_cell['cpu_s']:7.2f} CPU ms a cell, {per_cell['wall_s']:7.2f} wall ms a cell")
    if arguments.write:
        result = {"cells": count, "records_a_cell": 1800, "seconds": found, "environment": environment()}
        file = Path(__file__).with_name("results") / "cells.json"
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
