"""MEMIT and EMMET against what the peer's own code produced on a small GPT-2 (EasyEdit 14cea82)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchwright.adapters.lm.interventions.locate_then_edit.contexts import fill
from benchwright.adapters.lm.interventions.locate_then_edit.params import LocateThenEdit
from benchwright.adapters.lm.interventions.locate_then_edit.prepared import grounds
from benchwright.adapters.lm.interventions.locate_then_edit.spread import patches
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.job import Job

Made = Callable[..., LocateThenEdit]


def solve(hyper: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "least_squares",
        "covariance": {"file": "cov_gpt2.safetensors"},
        "covariance_weight": hyper["mom2_update_weight"],
        "slack": hyper.get("emmet_lambda", 1),
    }


def compare(patch: Patch, tensors: dict[str, torch.Tensor], gate: float) -> None:
    start = "batch10.delta."
    expected = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
    assert set(patch.deltas) == set(expected)
    for name, theirs in expected.items():
        ours = dense(patch.deltas[name])
        assert float((ours - theirs).norm() / theirs.norm()) < gate, name
        assert float(torch.cosine_similarity(ours.flatten(), theirs.flatten(), 0)) > 0.999


@pytest.mark.parametrize("name", ["memit_batch10", "emmet_batch10"])
def test_closed_form_from_the_peers_values(
    lm: LanguageModel, editing: Path, edit_requests: list[EditRequest], job: Job, as_the_peer: Made, name: str
) -> None:
    method, tensors = as_the_peer(name, solve, "block"), load_file(editing / "gpt2" / f"{name}.safetensors")
    known = grounds(method, lm, job)
    filled = [fill(lm, r, known.templates, method.value.kl_prompt) for r in edit_requests]
    wanted = torch.stack([tensors[f"z.{i}"] for i in range(10)])
    (patch,) = patches(method, lm, filled, [0] * 10, known, [job.rng("unused")], wanted)
    compare(patch, tensors, gate=1e-4)


@pytest.mark.parametrize("name", ["memit_batch10", "emmet_batch10"])
def test_the_whole_edit(
    lm: LanguageModel, editing: Path, edit_requests: list[EditRequest], job: Job, as_the_peer: Made, name: str
) -> None:
    method, tensors = as_the_peer(name, solve, "block"), load_file(editing / "gpt2" / f"{name}.safetensors")
    method.prepare(lm, job)
    patch, _ = method.apply(lm, edit_requests, None, job)
    compare(patch, tensors, gate=1e-3)
    assert lm.verify() == []
