"""Scores of edges against those of EAP-IG's own code (Hanna et al. 2024) on the same weights and prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_circuit_gradients import brute

from benchwright.adapters.circuits.analysis import Attribution, Study
from benchwright.adapters.circuits.scorers.gradient import points
from benchwright.adapters.circuits.scorers.params import Gradient, IntegratedGradients
from benchwright.adapters.lm.graph.nodes import Graph
from benchwright.adapters.lm.graph.pairs import Pair
from benchwright.adapters.lm.graph.params import LogitDifference
from benchwright.adapters.lm.graph.ungrouped import wired
from benchwright.adapters.lm.graph.wiring import Wiring
from benchwright.adapters.lm.loading import without_bars
from benchwright.adapters.lm.model import LanguageModel

TASKS = {
    "llama-tiny": ("capital", "prompts.json"),
    "gpt2-tiny": ("ioi", "prompts.json"),
    "gpt2-handmade": ("recall", "prompts_handmade.json"),
}
SCORERS = {
    "EAP": Gradient(type="gradient", at="clean"),
    "clean-corrupted": Gradient(type="gradient", at="clean_corrupted"),
    **{
        f"EAP-IG-inputs-{k}": IntegratedGradients(type="integrated_gradients", along="inputs", steps=k, rule="left")
        for k in (2, 5, 20)
    },
}


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "fixtures" / "circuits"


def opened(folder: Path, name: str) -> LanguageModel:
    from transformers import AutoModelForCausalLM

    with without_bars():
        return LanguageModel(AutoModelForCausalLM.from_pretrained(folder / name, local_files_only=True), None)


def study(folder: Path, name: str, wiring: Wiring, count: int) -> Study:
    task, file = TASKS[name]
    examples = json.loads((folder / file).read_text(encoding="utf-8"))["examples"][task][:count]
    pairs = [
        Pair(str(i), tuple(e["clean_ids"]), tuple(e["corrupt_ids"]), (e["answer_id"],), (e["wrong_id"],))
        for i, e in enumerate(examples)
    ]
    target = LogitDifference(type="logit_difference")
    return Study(wiring, pairs, target, "patching", 24, lambda _: np.random.default_rng(0))


def theirs(scores: dict[str, float], graph: Graph, heads: int) -> list[float]:
    """In the order of `graph.names`; they have an edge for each query head, of which groups are the sum."""
    found = []
    for name in graph.names():
        source, reader = name.split("->")
        if ".kv" in reader:
            block, _, rest = reader.partition(".kv")
            number, letter = rest.split("<")
            group = heads // graph.kv_heads
            some = range(int(number) * group, (int(number) + 1) * group)
            found.append(sum(scores[f"{source}->{block}.h{h}<{letter}"] for h in some))
        else:
            found.append(scores[name])
    return found


def compare(found: Attribution, expected: list[float]) -> None:
    assert np.abs(found.scores() - expected).max() <= 1e-4
    assert np.corrcoef(found.scores(), expected)[0, 1] >= 0.99999


@pytest.mark.parametrize("grouping", ["grouped", "per_query_head"])
@pytest.mark.parametrize("name", ["llama-tiny", "gpt2-handmade"])
def test_scores_of_eap_ig(folder: Path, name: str, grouping: str) -> None:
    lm = opened(folder, name)
    peer: dict[str, Any] = json.loads((folder / f"peer_{name}_{TASKS[name][0]}.json").read_text(encoding="utf-8"))
    compared = [method for method in SCORERS if method in peer["scores"]]
    assert len(compared) >= 3
    with wired(lm, grouping) as wiring:
        if grouping == "per_query_head" or name != "llama-tiny":
            assert set(wiring.graph.names()) == set(peer["scores"]["EAP"])
        given = study(folder, name, wiring, peer["n_pairs"])
        for method in compared:
            found = SCORERS[method].score(given, "edge")
            compare(found, theirs(peer["scores"][method], wiring.graph, wiring.graph.heads))
    assert lm.verify() == []


def test_a_trained_gpt2_against_automatic_differentiation(folder: Path) -> None:
    with wired(opened(folder, "gpt2-tiny"), "grouped") as wiring:
        given = study(folder, "gpt2-tiny", wiring, 12)
        for method, path in (("EAP", [(1.0, 1.0)]), ("EAP-IG-inputs-5", list(points("left", 5)))):
            compare(SCORERS[method].score(given, "edge"), brute(given, path).mean(0).tolist())
