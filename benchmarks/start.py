"""CPU seconds that a command takes before it does anything: `python benchmarks/start.py [--write]`.

Commands and a bare Python are run in turn, so that a change of the machine's speed hits all alike; the median is what
to quote. The aim: at most 0.7 CPU seconds above Python for what looks without running.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from benchwright.provenance import environment

ROUNDS = 9
MODULE = [sys.executable, "-P", "-m", "benchwright"]
COMMANDS = {
    "python -c pass": [sys.executable, "-P", "-c", "pass"],
    "--help": [*MODULE, "--help"],
    "list": [*MODULE, "list"],
    "validate specs": [*MODULE, "validate", str(Path(__file__).parents[1] / "specs")],
    "plan quickstart": [*MODULE, "plan", "quickstart"],
}


def cpu_seconds(command: list[str]) -> float:
    """User and system seconds of a finished child."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure, print, and with `--write` keep the result beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write results/start.json")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, command in COMMANDS.items():
            seconds[name].append(cpu_seconds(command))
    found = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first warms caches
    floor = found["python -c pass"]
    for name, value in found.items():
        print(f"{name:16} {value:6.3f} CPU s, {value - floor:+.3f} above Python")
    if arguments.write:
        result = {"unit": "median CPU seconds", "rounds": ROUNDS, "commands": found, "environment": environment()}
        file = Path(__file__).with_name("results") / "start.json"
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
