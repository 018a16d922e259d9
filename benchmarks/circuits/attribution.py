"""What scores of all edges cost: `python benchmarks/circuits/attribution.py [--write]`.

Beside each scorer runs its floor: the same model, tokens, batches and target with nothing watched, as many forward and
backward passes as the method cannot do without. Attribution patching: 1 forward, 1 forward and backward; EAP-IG with m
steps: 1 forward, m forward and backward. No weight has a gradient in either. Rounds alternate, since machines are
noisy; what is quoted is the median of the ratios of CPU seconds on one thread. Memory is the growth of the resident set
of a fresh process, in which nothing was run before but two pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchwright.adapters.circuits.analysis import Study
from benchwright.adapters.circuits.scorers.params import Gradient, IntegratedGradients
from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.pairs import Pair, batches
from benchwright.adapters.lm.graph.params import LogitDifference
from benchwright.adapters.lm.graph.values import last_logits, replacing_embedding
from benchwright.adapters.lm.model import LanguageModel
from benchwright.provenance import environment

ROUNDS = 15
STEPS = {"EAP": 1, "EAP-IG-5": 5, "EAP-IG-20": 20}
FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Case:
    """A model with random weights, and pairs of random tokens."""

    family: str = "llama"
    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 124
    pairs: int = 100
    tokens: int = 14
    batch: int = 64


LLAMA = Case()
CASES = {
    "llama 4L": LLAMA,
    "gpt2 3L": Case("gpt2", 3, 144, 4, 4, 24, 112, 4),
    "gpt2-small, 2 of 12 layers": Case("gpt2", 2, 768, 12, 12, 5000, 8, 15, 8),
    "layers 2": replace(LLAMA, layers=2),
    "layers 8": replace(LLAMA, layers=8),
    "heads 8": replace(LLAMA, heads=8, kv_heads=4),
    "heads 16": replace(LLAMA, heads=16, kv_heads=8),
    "tokens 7": replace(LLAMA, tokens=7),
    "tokens 56": replace(LLAMA, tokens=56),
    "pairs 10": replace(LLAMA, pairs=10),
    "pairs 400": replace(LLAMA, pairs=400),
}


def study(case: Case) -> Study:
    """The model and the pairs of a case."""
    if case.family == "gpt2":
        sizes = {"n_embd": case.width, "n_layer": case.layers, "n_head": case.heads}
    else:
        sizes = {
            "hidden_size": case.width,
            "intermediate_size": 4 * case.width,
            "num_hidden_layers": case.layers,
            "num_attention_heads": case.heads,
            "num_key_value_heads": case.kv_heads,
        }
    torch.manual_seed(0)
    config = AutoConfig.for_model(case.family, vocab_size=case.vocabulary, bos_token_id=0, eos_token_id=0, **sizes)
    wiring = wiring_of(LanguageModel(AutoModelForCausalLM.from_config(config), None))
    tokens = np.random.default_rng(0).integers(1, case.vocabulary, (case.pairs, 2, case.tokens)).tolist()
    pairs = [Pair(str(i), tuple(clean), tuple(corrupt), (1,), (2,)) for i, (clean, corrupt) in enumerate(tokens)]
    target = LogitDifference(type="logit_difference")
    return Study(wiring, pairs, target, "patching", case.batch, lambda _: np.random.default_rng(0))


def floor(given: Study, steps: int) -> None:
    """One forward pass, and `steps` forward and backward passes."""
    wiring = given.wiring
    for batch in batches(given.pairs, given.batch, wiring.lm.device):
        with torch.no_grad():
            last_logits(wiring, batch.corrupt)
        for _ in range(steps):
            embedded = wiring.embedding[1](batch.clean).requires_grad_()
            handle = replacing_embedding(wiring, embedded)
            try:
                given.target.values(last_logits(wiring, batch.clean), batch, None).sum().backward()
            finally:
                handle.remove()


def scored(given: Study, steps: int) -> None:
    """Scores of all edges."""
    if steps == 1:
        Gradient(type="gradient", at="clean").score(given, "edge")
    else:
        IntegratedGradients(type="integrated_gradients", along="inputs", steps=steps, rule="left").score(given, "edge")


def spent(work: Callable[[Study, int], None], given: Study, steps: int) -> float:
    """CPU seconds."""
    start = time.process_time()
    work(given, steps)
    return time.process_time() - start


def methods(name: str) -> dict[str, int]:
    """Methods and steps; where a case differs from another in one number, 20 steps say nothing that 5 do not."""
    alone = name.split()[0] not in ("layers", "heads", "tokens", "pairs")
    return {method: steps for method, steps in STEPS.items() if alone or steps < 20}


def timed(case: Case, steps_of: dict[str, int], rounds: int) -> dict[str, dict[str, float]]:
    """For each method its CPU seconds, those of the floor, and the ratio; medians."""
    given = study(case)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in steps_of}
    for _ in range(rounds + 1):
        for name, steps in steps_of.items():
            found[name].append((spent(scored, given, steps), spent(floor, given, steps)))
    return {
        name: {
            "cpu_s": statistics.median(ours for ours, _ in pairs[1:]),  # the first warms caches
            "floor_cpu_s": statistics.median(least for _, least in pairs[1:]),
            "ratio": statistics.median(ours / least for ours, least in pairs[1:]),
        }
        for name, pairs in found.items()
    }


def resident(field: str) -> int:
    """kB of this process, now (`VmRSS`) or at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def grown(name: str, way: str, steps: int) -> float:
    """MB by which a fresh process grows while it scores, or runs the floor."""
    command = [sys.executable, "-P", __file__, "--grow", name, way, str(steps)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def grow(name: str, way: str, steps: int) -> None:
    """What the fresh process does."""
    given, work = study(CASES[name]), {"scored": scored, "floor": floor}[way]
    work(replace(given, pairs=given.pairs[:2]), steps)
    before = resident("VmRSS")
    work(given, steps)
    print((resident("VmHWM") - before) / 1024)


def main() -> None:
    """Measure, print, and with `--write` keep the result beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name}")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--grow", nargs=3, metavar=("CASE", "WAY", "STEPS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.grow:
        return grow(asked.grow[0], asked.grow[1], int(asked.grow[2]))
    found: dict[str, Any] = {}
    for name in asked.cases:
        memory = {m: {way: grown(name, way, s) for way in ("scored", "floor")} for m, s in methods(name).items()}
        costs = timed(CASES[name], methods(name), asked.rounds)
        found[name] = {"case": asdict(CASES[name]), "costs": costs, "grown_mb": memory}
        for method, cost in costs.items():
            mb = memory[method]
            print(
                f"{name:28} {method:10} {cost['cpu_s']:8.3f} CPU s, floor {cost['floor_cpu_s']:8.3f}, "
                f"{cost['ratio']:5.2f} times; {mb['scored']:6.0f} MB, floor {mb['floor']:6.0f} MB",
                flush=True,
            )
    if asked.write:
        result = {"unit": "median CPU seconds", "rounds": asked.rounds, "cases": found, "environment": environment()}
        FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
