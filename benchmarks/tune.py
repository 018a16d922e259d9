"""Tune methods on the validation split of an embedded world: `python benchmarks/tune.py FAMILY [METHOD ...]`.

Every combination of FAMILY/grids.yaml is run; the test split is never read. What is maximised:

editing  The mean of reliability, generalization and locality (exact; the `Avg.` of WISE, Wang et al. 2024, arXiv
         2405.14768, table 2) over single edits (T = 1) and sequences of ten.
detox    DG-Avg where at most 10 % of the look-alikes go without an answer, and among equals DG-Avg less such
         look-alikes at full strength.

`--write` puts the best values into the method's spec, as its entry for the model, and all results into
results/tuning-MODEL.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from benchwright.adapters.detox.metrics import WITHIN
from benchwright.adapters.detox.params import Detox, Exact
from benchwright.adapters.detox.sources.params import ForbiddenCases
from benchwright.adapters.editing.metrics import AVERAGED
from benchwright.adapters.editing.params import Edit
from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.alone import Wanted, job_for
from benchwright.errors import Skip
from benchwright.job import Job
from benchwright.kinds import TaskSpec
from benchwright.loading.library import Entry, within_reach
from benchwright.loading.resolve import resolve
from benchwright.loading.tree import parse_tree
from benchwright.store import Cell

HERE = Path(__file__).parent
SPECS = HERE.parent / "specs" / "methods"
MEASURES = tuple(f"{measure}.exact" for measure in AVERAGED)
LOST = ("over_refusal", "over_refusal.attacked", "harmless.degenerate")
REQUESTS = 30
"""Edits of the validation split that are used: as many singles, three sequences of ten."""
MODELS = {"editing": "atlas", "detox": "forbidden"}


def task_of(family: str, model: str, learns: bool) -> TaskSpec:
    """What candidates are scored on: half of the validation split where the method `learns` from the other half."""
    if family == "detox":
        cases = ForbiddenCases(type="forbidden", world=model, split="validation")
        ask = Detox(type="detox", judge=Exact(type="exact"), new_tokens=20)
        return TaskSpec(kind="task", name="tuning", data=cases, protocol=ask)
    edits = WorldEdits(type="world_edits", world=model, split="tuning" if learns else "validation", requests=REQUESTS)
    edit = Edit(type="edit", mode="sequential", checkpoints=(1, 10), streams=3, least_items=REQUESTS)
    return TaskSpec(kind="task", name="tuning", data=edits, protocol=edit)


def nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    found: dict[str, Any] = {}
    for path, value in fields.items():
        *outer, last = path.split(".")
        inner = found
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return found


def scores(job: Job) -> dict[str, float]:
    """What was measured, and under `mean` what is maximised."""
    parts = list(job.task.protocol.run(job))
    cell = Cell({}, [r for part in parts for r in part.records], [i for part in parts for i in part.items])
    if isinstance(job.task.protocol, Detox):
        shown = [m for m in job.task.protocol.metrics() if m.id in ("dg_avg", *LOST)]
        found = {m.id: round(float(m.value(cell.samples(m)[()].columns)[0]), 4) for m in (WITHIN, *shown)}
        cost = (found["over_refusal"] + found["over_refusal.attacked"]) / 2 + found["harmless.degenerate"]
        # The second term decides among equals alone: what the first can differ by is larger.
        return {**found, "mean": round(found[WITHIN.id] + 1e-3 * (found["dg_avg"] - cost), 6)}
    values: dict[tuple[str, int], list[float]] = {}
    for record in cell.records:
        if record["metric"] in MEASURES:
            values.setdefault((record["metric"], record["at"]["T"]), []).append(record["value"])
    found = {f"{metric}[T={t}]": round(fmean(v), 4) for (metric, t), v in values.items()}
    return {**found, "mean": round(fmean(found.values()), 4)}


def candidates(grid: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def tuned(name: str, grid: Mapping[str, list[Any]], family: str, model: str) -> list[dict[str, Any]]:
    """All candidates of a method, best first."""
    library, found = within_reach(), list[dict[str, Any]]()
    learns = "training_requests" in resolve(library, library.get("method", name)).spec.algorithm.consumes
    job, opened, _ = job_for(Wanted(model, name), task_of(family, model, learns), {})
    for fields in candidates(grid):
        spec = {"kind": "method", "name": "candidate", "extends": name, "algorithm": nested(fields)}
        entry = Entry("method", "candidate", HERE, parse_tree(json.dumps(spec), "candidate"), False)
        begun = time.process_time()
        try:
            measured = scores(replace(job, method=resolve(library, entry, opened.lineage).spec))
        except Skip as error:
            print(f"{name} {fields}: {error}")
            continue
        found.append({**fields, **measured, "cpu_s": round(time.process_time() - begun, 1)})
        print(name, json.dumps(found[-1]), flush=True)
    return sorted(found, key=lambda row: -row["mean"])


def write(name: str, model: str, best: Mapping[str, Any], grid: Mapping[str, list[Any]]) -> None:
    """Put the best values into the method's entry for the model, beside what stands there already."""
    (file,) = SPECS.rglob(f"{name}.yaml")
    text = file.read_text(encoding="utf-8")
    # The entry's own line, and what is indented below it.
    entry = re.search(rf"^  {model}:.*\n(?:    .*\n)*", text, re.MULTILINE)
    assert entry, f"{file}: has no entry for {model} in for_models"
    spec = yaml.safe_load(entry[0])[model]
    laid_over(spec, {"algorithm": nested({field: best[field] for field in grid})})
    flow = yaml.safe_dump({model: spec}, default_flow_style=None, width=116, sort_keys=False)
    file.write_text(text.replace(entry[0], textwrap.indent(flow, "  ")), encoding="utf-8")


def laid_over(spec: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put values into a nested map, in place."""
    for key, value in changes.items():
        if isinstance(value, dict):
            laid_over(spec.setdefault(key, {}), value)
        else:
            spec[key] = value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=MODELS)
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--model")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    model = asked.model or MODELS[asked.family]
    grids = yaml.safe_load((HERE / asked.family / "grids.yaml").read_text(encoding="utf-8"))
    results = HERE / "results" / f"tuning-{model}.json"
    for name in asked.methods or grids:
        found = tuned(name, grids[name], asked.family, model)
        if asked.write:
            write(name, model, found[0], grids[name])
            known = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
            known[name] = found
            results.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
