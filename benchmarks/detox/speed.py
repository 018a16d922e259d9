"""Instances side by side against one after the other: `OMP_NUM_THREADS=1 python benchmarks/detox/speed.py [--write]`.

DINM on the 54 instances of the forbidden world: tuned in one batch or each alone, and asked all in one pass or model
after model. Interleaved, three rounds; CPU seconds of the fastest.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchwright.adapters.detox.asking import Examiner
from benchwright.adapters.detox.judging import Known
from benchwright.adapters.lm.patch import Patch
from benchwright.alone import Wanted, job_for, task_of

ROUNDS = 3


def cpu(function: Callable[[], Any]) -> float:
    begun = time.process_time()
    function()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write results/detox-speed-cpu.json")
    asked = parser.parse_args()
    task, files = task_of("forbidden")
    job, _, _ = job_for(Wanted("forbidden", "dinm"), task, files)
    lm: Any = job.models["subject"]
    method: Any = job.method.algorithm
    cases, truth = job.items(), task.data.truth({})
    requests = [case.request for case in cases]
    examiner = Examiner(lm, Known(truth, 0.5), truth, task.protocol.new_tokens, task.protocol.prefill_words, 512)
    patches = [p for p in method.apply_each(lm, requests, job) if isinstance(p, Patch)]
    ways: dict[str, Callable[[], Any]] = {
        "tuned side by side": lambda: method.apply_each(lm, requests, job),
        "tuned one by one": lambda: [method.apply_each(lm, [request], job) for request in requests],
        "asked in one pass": lambda: examiner.ask_each(cases, patches),
        "asked model by model": lambda: [examiner.ask_each([c], [p]) for c, p in zip(cases, patches, strict=True)],
    }
    found: dict[str, float] = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            found[name] = min(found[name], cpu(way))
    ratios = {
        "tuning": round(found["tuned one by one"] / found["tuned side by side"], 2),
        "asking": round(found["asked model by model"] / found["asked in one pass"], 2),
    }
    said = {"cpu_s": {name: round(value, 3) for name, value in found.items()}, "times faster": ratios}
    print(json.dumps(said, indent=1))
    if asked.write:
        file = Path(__file__).parents[1] / "results" / "detox-speed-cpu.json"
        file.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
