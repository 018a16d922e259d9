"""What an edit costs, and what scoring one costs: `python benchmarks/editing/speed.py [METHOD ...] [--write]`.

For each method, CPU and wall seconds for each of 20 edits of the embedded world on one thread: carried out one by one
(`apply`), all at once (`apply_each`), and scored one model after the other and, where the patches can be stacked, in
common passes. The ways are interleaved and repeated, since machines are noisy; the minimum counts. `--write` puts the
figures into results/editing-MODEL-DEVICE.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchwright.adapters.editing.controls import Controls
from benchwright.adapters.editing.params import Edit
from benchwright.adapters.editing.probes import references
from benchwright.adapters.editing.scoring import Edits, scored
from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.lm.interventions import Intervention
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch, can_stack
from benchwright.alone import Wanted, job_for
from benchwright.kinds import TaskSpec
from benchwright.provenance import environment

METHODS = ("ft-l", "ft-m", "lora", "rome", "r-rome", "memit", "emmet", "grace", "ice")
REQUESTS = 20
RESULTS = Path(__file__).parents[1] / "results"


def spent(work: Callable[[], Any]) -> dict[str, float]:
    """CPU and wall seconds for each edit."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {
        "cpu_s": round((time.process_time() - cpu) / REQUESTS, 5),
        "wall_s": round((time.perf_counter() - wall) / REQUESTS, 5),
    }


def measured(model: str, name: str, device: str, repeats: int) -> dict[str, Any]:
    """Seconds by way of working; the least of `repeats`."""
    data = WorldEdits(type="world_edits", world="atlas", split="validation", requests=REQUESTS)
    task = TaskSpec(kind="task", name="speed", data=data, protocol=Edit(type="edit"))
    job, _, _ = job_for(Wanted(model, name, device), task, {})
    lm, method, protocol = job.models["subject"], job.method.algorithm, task.protocol
    assert isinstance(lm, LanguageModel)
    assert isinstance(method, Intervention)
    assert isinstance(protocol, Edit)
    method.prepare(lm, job)
    cases = job.items()
    requests = [case.request for case in cases]
    known = references(lm, cases, protocol.forward_batch, job)
    patches = [p if isinstance(p, Patch) else Patch() for p in method.apply_each(lm, requests, job)]
    edits: Edits = [([c], [r], p) for c, r, p in zip(cases, known, patches, strict=True)]

    def score(models: Edits) -> None:
        for _ in scored(lm, models, protocol, Controls(()), job):
            pass

    ways: dict[str, Callable[[], Any]] = {
        "edit, one by one": lambda: [method.apply(lm, [r], None, job) for r in requests],
        "edit, all at once": lambda: method.apply_each(lm, requests, job),
        "score, one by one": lambda: [score([edit]) for edit in edits],
    }
    if can_stack(lm, patches):
        ways["score, all at once"] = lambda: score(edits)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, work in ways.items():
            runs[way].append(spent(work))
    return {way: {unit: min(r[unit] for r in found) for unit in found[0]} for way, found in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--model", default="atlas")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    found = {}
    for name in asked.methods or METHODS:
        found[name] = measured(asked.model, name, asked.device, asked.repeats)
        print(name, json.dumps(found[name]), flush=True)
    if asked.write:
        file = RESULTS / f"editing-{asked.model}-{asked.device}.json"
        file.write_text(json.dumps({"environment": environment(), "methods": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
