"""FT-L against what the peer's own code produced on a small GPT-2 (EasyEdit 14cea82), tensors and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchwright.adapters.lm.interventions.fine_tune import FineTune, Parameters
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, encode, forced


def token_accuracy(lm: LanguageModel, row: Row) -> float:
    said = forced(lm, [row], 1)[0].tokens
    return sum(a == b for a, b in zip(said, row.target, strict=True)) / len(said)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_deltas_and_scores(lm: LanguageModel, editing: Path, records: list[dict[str, Any]], case: int) -> None:
    peer = json.loads((editing / "gpt2" / "ft_l.json").read_text(encoding="utf-8"))
    hyper = peer["hparams"]
    algorithm = FineTune(
        type="fine_tune",
        parameters=Parameters(layers=tuple(hyper["layers"])),
        objective="last_token",
        lr=float(hyper["lr"]),
        steps=hyper["num_steps"],
        weight_decay=float(hyper["weight_decay"]),
    )
    record = records[case]
    request = EditRequest(str(case), record["prompt"], record["subject"], record["target_new"])
    patch, _ = algorithm.apply(lm, [request], None, None)  # type: ignore[arg-type]
    tensors = load_file(editing / "gpt2" / "ft_l.safetensors")
    expected = {
        k.removeprefix(f"case{case}.delta."): v for k, v in tensors.items() if k.startswith(f"case{case}.delta")
    }
    assert set(patch.deltas) == set(expected)
    for name, theirs in expected.items():
        ours = patch.deltas[name]
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-2, name
        assert float(torch.cosine_similarity(ours.flatten(), theirs.flatten(), 0)) > 0.999
    row = encode(lm, request.prompt, request.target_new)
    with patch.applied(lm):
        share = token_accuracy(lm, row)
    assert share == pytest.approx(peer["cases"][case]["post"]["rewrite_acc"][0])
    assert lm.verify() == []
