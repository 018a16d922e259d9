"""FT-M and FT-L against what the peer's own code produced on a small GPT-2 (EasyEdit 14cea82), tensors and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchwright.adapters.lm.interventions.fine_tune import FineTune, Parameters
from benchwright.adapters.lm.losses import Objective
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, encode, forced


def token_accuracy(lm: LanguageModel, row: Row) -> float:
    said = forced(lm, [row], 1)[0].tokens
    return sum(a == b for a, b in zip(said, row.target, strict=True)) / len(said)


@pytest.mark.parametrize("case", [0, 1, 2])
@pytest.mark.parametrize(("name", "objective"), [("ft_m", "target_tokens"), ("ft_l", "last_token")])
def test_deltas_and_scores(
    lm: LanguageModel, editing: Path, records: list[dict[str, Any]], name: str, objective: Objective, case: int
) -> None:
    peer = json.loads((editing / "gpt2" / f"{name}.json").read_text(encoding="utf-8"))
    hyper = peer["hparams"]
    algorithm = FineTune(
        type="fine_tune",
        parameters=Parameters(layers=tuple(hyper["layers"])),
        objective=objective,
        lr=float(hyper["lr"]),
        steps=hyper["num_steps"],
        weight_decay=float(hyper["weight_decay"]),
    )
    record = records[case]
    request = EditRequest(str(case), record["prompt"], record["subject"], record["target_new"])
    patch, _ = algorithm.apply(lm, [request], None, None)  # type: ignore[arg-type]
    tensors = load_file(editing / "gpt2" / f"{name}.safetensors")
    expected = {
        k.removeprefix(f"case{case}.delta."): v for k, v in tensors.items() if k.startswith(f"case{case}.delta")
    }
    assert set(patch.deltas) == set(expected)
    for weight, theirs in expected.items():
        ours = patch.deltas[weight]
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-2, weight
        assert float(torch.cosine_similarity(ours.flatten(), theirs.flatten(), 0)) > 0.999
    row = encode(lm, request.prompt, request.target_new)
    with patch.applied(lm):
        share = token_accuracy(lm, row)
    assert share == pytest.approx(peer["cases"][case]["post"]["rewrite_acc"][0])
    assert lm.verify() == []


def test_token_accuracy_of_the_unedited_model(lm: LanguageModel, editing: Path, records: list[dict[str, Any]]) -> None:
    peer = json.loads((editing / "gpt2" / "rome_mom2off.json").read_text(encoding="utf-8"))
    for record, case in zip(records, peer["cases"], strict=True):
        for prompt, theirs in ((record["prompt"], "rewrite_acc"), (record["rephrase"], "rephrase_acc")):
            row = encode(lm, prompt, record["target_new"])
            assert token_accuracy(lm, row) == pytest.approx(case["pre"][theirs][0]), (record["case_id"], theirs)
