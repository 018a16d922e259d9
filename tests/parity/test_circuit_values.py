"""Exact patching and the values of circuits, against EAP-IG on TransformerLens (see ../shared/fixtures/circuits)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchwright.adapters.circuits.analysis import Attribution, Study
from benchwright.adapters.circuits.evaluate import circuit_values, model_values
from benchwright.adapters.circuits.methods.analyzer import Analyzer
from benchwright.adapters.circuits.scorers.exact import exactly
from benchwright.adapters.circuits.select import cut
from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.pairs import Pair
from benchwright.adapters.lm.graph.params import LogitDifference
from benchwright.adapters.lm.graph.ungrouped import wired
from benchwright.adapters.lm.graph.wiring import Wiring
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.seeded import byte_tokenizer

CASES = {
    ("llama-tiny", "capital"): "prompts.json",
    ("gpt2-handmade", "recall"): "prompts_handmade.json",
}


@dataclass(frozen=True)
class Peer:
    """What the peer found, and the model in its form."""

    found: dict[str, Any]
    pairs: list[Pair]
    truth: list[str]
    lm: LanguageModel
    wiring: Wiring

    def study(self, count: int, ablation: Any = "patching", wiring: Wiring | None = None) -> Study:
        target = LogitDifference(type="logit_difference")
        pairs = self.pairs[:count]
        return Study(wiring or self.wiring, pairs, target, ablation, 64, lambda _: np.random.default_rng(0))

    def scores(self, method: str) -> np.ndarray:
        return np.array([self.found["scores"][method][name] for name in self.wiring.graph.names()])


@pytest.fixture(scope="module", params=list(CASES), ids=" ".join)
def peer(request: pytest.FixtureRequest, shared: Path) -> Iterator[Peer]:
    """One model and task."""
    from transformers import AutoModelForCausalLM

    (model, task), folder = request.param, shared / "fixtures" / "circuits"
    prompts = json.loads((folder / CASES[request.param]).read_text(encoding="utf-8"))
    pairs = [
        Pair(str(i), tuple(e["clean_ids"]), tuple(e["corrupt_ids"]), (e["answer_id"],), (e["wrong_id"],))
        for i, e in enumerate(prompts["examples"][task])
    ]
    found = json.loads((folder / f"peer_{model}_{task}.json").read_text(encoding="utf-8"))
    lm = LanguageModel(AutoModelForCausalLM.from_pretrained(folder / model), byte_tokenizer())
    truth = prompts.get("ground_truth", {}).get("causal_under_counterfactual", [])
    with wired(lm, "per_query_head") as wiring:
        yield Peer(found, pairs, truth, lm, wiring)
    assert lm.verify() == []


def test_exact_patching_is_the_peers(peer: Peer) -> None:
    scored = exactly(peer.study(peer.found["exact_n"]), "edge")
    np.testing.assert_allclose(scored.scores(), peer.scores("exact-patching"), atol=1e-4)
    if peer.truth:
        names = np.array(list(peer.wiring.graph.names()))
        assert set(names[np.argsort(-np.abs(scored.scores()))[: len(peer.truth)]]) == set(peer.truth)


# The peer's `mean` is no mean over positions, so it is not compared.
@pytest.mark.parametrize("ablation", ["patching", "zero", "mean_positional"])
def test_circuits_of_the_peers_scores_are_worth_what_the_peer_says(peer: Peer, ablation: str) -> None:
    graph, study = peer.wiring.graph, peer.study(peer.found["n_pairs"], ablation)
    method = Analyzer.model_validate(
        {
            "type": "circuit",
            "granularity": "edge",
            "scorer": {"type": "exact"},
            "target": {"type": "logit_difference"},
            "ablation": "patching",
            "keys_and_values": "per_query_head",
            "reduction": "mean",
            "selector": {"type": "top_n", "by": "magnitude"},
            "prune": True,
        }
    )
    masks, expected = [], []
    for scorer, circuits in peer.found["circuits"].items():
        scored = Attribution(graph, "edge", peer.scores(scorer)[None].astype(np.float32))
        for circuit in circuits:
            mask = cut(method, scored, circuit["k"])
            assert mask.sum() == circuit["kept_after_prune"]
            if circuit["edges"] is not None:
                assert {graph.name(*place) for place in np.argwhere(mask)} == set(circuit["edges"])
            masks.append(mask)
            expected.append(circuit[ablation.replace("_", "-")])
    np.testing.assert_allclose(circuit_values(study, masks).values.mean(1), expected, atol=1e-3)
    assert model_values(study).values.mean() == pytest.approx(peer.found["baseline"], abs=1e-4)


def test_a_shared_key_is_patched_for_all_query_heads_at_once(shared: Path) -> None:
    """Grouped scores, against circuits of the ungrouped model without the edges of all heads of a group."""
    from transformers import AutoModelForCausalLM

    folder = shared / "fixtures" / "circuits"
    examples = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))["examples"]["capital"][:6]
    pairs = [
        Pair(str(i), tuple(e["clean_ids"]), tuple(e["corrupt_ids"]), (e["answer_id"],), (e["wrong_id"],))
        for i, e in enumerate(examples)
    ]
    lm = LanguageModel(AutoModelForCausalLM.from_pretrained(folder / "llama-tiny"), byte_tokenizer())
    target = LogitDifference(type="logit_difference")
    rng = lambda _: np.random.default_rng(0)  # noqa: E731
    wiring = wiring_of(lm)
    grouped = exactly(Study(wiring, pairs, target, "patching", 64, rng), "edge").by_pair
    with wired(lm, "per_query_head") as split:
        masks = []
        for source, destination in wiring.graph.edges:
            name, less = wiring.graph.destinations[destination], split.graph.allowed.copy()
            block, _, which = name.partition(".kv")
            number, _, letter = which.partition("<")
            group = wiring.graph.group
            heads = range(int(number) * group, (int(number) + 1) * group) if which else ()
            for reader in [f"{block}.h{head}<{letter}" for head in heads] or [name]:
                less[source, split.graph.destinations.index(reader)] = False
            masks.append(less)
        study = Study(split, pairs, target, "patching", 64, rng)
        expected = circuit_values(study, masks).values - model_values(study).values
    np.testing.assert_allclose(grouped, expected.T, atol=1e-4)
