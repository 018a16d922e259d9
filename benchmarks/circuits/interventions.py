"""What interventions cost: `python benchmarks/circuits/interventions.py [--pairs 32] [--write]`.

CPU seconds on one thread, on pairs of the embedded world. The yardstick of exact patching and ACDC is one forward pass
of the stock model for each edge (the peer makes two), over all pairs of one length at a time; that of ten circuits is
ten such passes. Ways are interleaved and repeated, and the median counts. `--write` puts the figures into
interventions.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchwright.adapters.circuits.analysis import Study
from benchwright.adapters.circuits.evaluate import circuit_values
from benchwright.adapters.circuits.pairing import paired
from benchwright.adapters.circuits.scorers.acdc import by_acdc
from benchwright.adapters.circuits.scorers.exact import exactly
from benchwright.adapters.circuits.scorers.masks import by_learned_mask
from benchwright.adapters.circuits.scorers.params import Acdc, LearnedMask
from benchwright.adapters.circuits.sources.params import WorldRelations
from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.pairs import batches
from benchwright.adapters.lm.graph.params import LogitDifference
from benchwright.adapters.lm.graph.values import last_logits
from benchwright.adapters.worlds.params import World
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.provenance import environment

STEPS = 5
"""Of a learned mask; the figure is for one."""


def atlas(count: int) -> Study:
    """Pairs of all relations of the world."""
    lm = World(type="world", name="atlas").open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere"))))
    data = WorldRelations(type="world_relations", world="atlas", per_relation=20)
    pairs = paired(lm, list(data.questions({})), strict=False, answers="first_differing").pairs
    chosen = [pairs[i] for i in np.linspace(0, len(pairs) - 1, count).astype(int)]
    target = LogitDifference(type="logit_difference")
    return Study(wiring_of(lm), chosen, target, "patching", 64, lambda _: np.random.default_rng(0))


@torch.no_grad()
def passes(study: Study, count: int) -> None:
    """So many forward passes of the stock model over all pairs, logits at the end alone."""
    for batch in batches(study.pairs, study.batch, study.wiring.lm.device):
        for _ in range(count):
            last_logits(study.wiring, batch.clean)


def spent(work: Callable[[], Any]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    study = atlas(wanted.pairs)
    graph, rng = study.wiring.graph, np.random.default_rng(0)
    edges = len(graph.edges)
    masks = [graph.allowed & (rng.random(graph.allowed.shape) < share) for share in np.linspace(0, 1, 10)]
    learned = LearnedMask(type="learned_mask", gates="uniform", steps=STEPS, lr=0.1, sparsity=5.0)
    ways: dict[str, Callable[[], Any]] = {
        "a pass for each edge": lambda: passes(study, edges),
        "exact, edges": lambda: exactly(study, "edge"),
        "exact, nodes": lambda: exactly(study, "node"),
        "acdc, threshold 0.1": lambda: by_acdc(Acdc(type="acdc", threshold=0.1), study, "edge"),
        "ten passes": lambda: passes(study, 10),
        "ten circuits": lambda: circuit_values(study, masks),
        f"{STEPS} steps of learned gates": lambda: by_learned_mask(learned, study, "edge"),
    }
    runs: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(wanted.repeats):
        for way, work in ways.items():
            runs[way].append(spent(work))
    cpu = {way: round(statistics.median(found), 3) for way, found in runs.items()}
    ratios = {way: round(cpu[way] / cpu["a pass for each edge"], 3) for way in ("exact, edges", "acdc, threshold 0.1")}
    ratios["ten circuits"] = round(cpu["ten circuits"] / cpu["ten passes"], 3)
    found = {
        "environment": environment(),
        "model": "atlas",
        "edges": edges,
        "pairs": len(study.pairs),
        "lengths": sorted({len(pair.clean) for pair in study.pairs}),
        "cpu_s": cpu,
        "of the yardstick": ratios,
    }
    print(json.dumps(found, indent=1))
    if wanted.write:
        Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
