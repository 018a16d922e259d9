"""Editing of knowledge neurons against what the peer's own code produced on a small GPT-2 (EasyEdit 14cea82)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchwright.adapters.lm.interventions.neurons.params import EditNeurons
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.job import Job


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_peers_variant(
    lm: LanguageModel, editing: Path, records: list[dict[str, Any]], job: Job, number: int
) -> None:
    record, start = records[number], f"case{number}.delta."
    tensors = load_file(editing / "gpt2" / "kn_single.safetensors")
    theirs = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
    request = EditRequest("a", record["prompt"], record["subject"], record["target_new"], record["ground_truth"])
    method = EditNeurons(type="edit_neurons", variant="easyedit", steps=20, threshold=0.2)
    method.check(lm, request, job)
    patch, _ = method.apply(lm, [request], None, job)
    assert set(patch.deltas) == set(theirs)
    for name, expected in theirs.items():
        ours = dense(patch.deltas[name])
        assert torch.equal(ours.norm(dim=1) > 0, expected.norm(dim=1) > 0)
        assert float((ours - expected).norm() / expected.norm()) < 1e-5
    assert lm.verify() == []
