"""DINM against EasyEdit's own code (14cea82): located layer, losses at every step, change of the weights; and the
n-gram entropy of ten texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import processors

from benchwright.adapters.lm.fluency import WEIGHTS, entropy
from benchwright.adapters.lm.interventions.dinm import Dinm
from benchwright.adapters.lm.interventions.dinm.location import distances
from benchwright.adapters.lm.loading import open_folder
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import encode_prompt
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening

NONE: Any = None
CASES = [
    f"dinm_{family}_{bos}_lr{lr}" for family in ("llama", "gpt2") for bos in ("nobos", "bos") for lr in (5e-4, 5e-3)
]


@pytest.fixture(scope="module")
def detox(shared: Path) -> Path:
    return shared / "fixtures" / "detox"


@pytest.fixture(scope="module")
def peer(detox: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((detox / "dinm_parity.json").read_text(encoding="utf-8"))
    return found


def opened(detox: Path, case: dict[str, Any]) -> LanguageModel:
    """The model, its tokenizer with or without a beginning of text."""
    lm = open_folder(detox / f"tiny_{case['family']}", Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere"))))
    if case["add_bos"]:
        token = lm.tokenizer.bos_token
        special = [(token, lm.tokenizer.bos_token_id)]
        lm.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{token} $A", special_tokens=special
        )
    return lm


def request_of(peer: dict[str, Any], name: str = "request") -> EditRequest:
    said = peer[name]
    kept = said["locality"]["general knowledge constraint"]
    keep = ((kept["prompt"], kept["ground_truth"]),)
    return EditRequest("0", said["prompt"], "", said["target_new"], said["ground_truth"], keep=keep)


def case_of(peer: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [case for case in peer["cases"] if case["file"] == f"{name}.npz"]
    return found


def as_released(case: dict[str, Any]) -> Dinm:
    return Dinm(
        type="dinm",
        lr=case["lr"],
        steps=case["num_steps"],
        edit_weight=case["kl_factor"],
        weight_decay=float(case["weight_decay"]),
        constraint="released",
        begin_as_target=True,
        bias=True,
    )


@pytest.mark.parametrize("name", CASES)
def test_layer_losses_and_weights(name: str, peer: dict[str, Any], detox: Path) -> None:
    case = case_of(peer, name)
    lm = opened(detox, case)
    request = request_of(peer)
    safe, unsafe = (encode_prompt(lm, text) for text in (request.target_new, request.target_true or ""))
    assert distances(lm, safe, unsafe, "raw") == pytest.approx(case["layer_distances"], rel=1e-5)
    patch, _ = as_released(case).apply(lm, [request], None, NONE)
    assert patch.notes["layer"] == case["layer"]
    assert patch.notes["loss"] == pytest.approx(case["total_loss_per_step"], abs=1e-6)
    # Values near 1e-6 are differences of logits in float32: an absolute tolerance.
    assert patch.notes["kl"] == pytest.approx(case["kl_per_step"], abs=1e-6)
    assert set(patch.deltas) == set(case["weights"])
    assert {n: float(d.norm()) for n, d in patch.tensors().items()} == pytest.approx(case["delta_fro"], rel=1e-5)
    if (detox / case["file"]).exists():
        with np.load(detox / case["file"]) as stored:
            for weight in stored.files:
                assert np.abs(stored[weight] - patch.tensors()[weight].numpy()).max() < 1e-5


@pytest.mark.parametrize("name", CASES[::3])
def test_the_released_constraint_holds_nothing_and_the_paper_s_does(
    name: str, peer: dict[str, Any], detox: Path
) -> None:
    case = case_of(peer, name)
    assert case["delta_identical_when_constraint_text_changes"]
    lm = opened(detox, case)
    requests = [request_of(peer, which) for which in ("request", "request_other_constraint")]
    released = as_released(case)
    one, other = (released.apply(lm, [r], None, NONE)[0] for r in requests)
    assert other.notes["kl"] == pytest.approx(case["kl_per_step_other_constraint"], abs=1e-6)
    assert all((one.tensors()[n] == other.tensors()[n]).all() for n in one.deltas)
    paper = released.model_copy(update={"constraint": "after_before"})
    one, other = (paper.apply(lm, [r], None, NONE)[0] for r in requests)
    assert one.digest() != other.digest()


def test_entropy_of_ten_texts(detox: Path) -> None:
    rows = json.loads((detox / "ngram_entropy.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 10
    for row in rows:
        # The peer was made to split the last sentence's stop alone: its tokens are compared, not its sentences.
        found = sum(w * entropy(row["tokens"], n) for n, w in WEIGHTS.items()) / len(WEIGHTS)
        assert found == pytest.approx(row["entropy"], abs=1e-9), row["text"][:40]
