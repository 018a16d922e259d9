"""MEMIT and EMMET against what the peer's own code produced on a small GPT-2 (EasyEdit 14cea82)."""

from __future__ import annotations

import json
from pathlib import Path

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

GROUPS = (("{}",), ("The city of Oslo. {}", "I think you said. {}", "Therefore Arlo Finch moved. {}"))


def algorithm(editing: Path, name: str) -> LocateThenEdit:
    """The algorithm with the peer's hyper-parameters, from a spec."""
    hyper = json.loads((editing / "gpt2" / f"{name}.json").read_text(encoding="utf-8"))["hparams"]
    value = {
        "at": "block",
        "steps": hyper["v_num_grad_steps"],
        "lr": hyper["v_lr"],
        "loss_layer": hyper["v_loss_layer"],
        "weight_decay": hyper["v_weight_decay"],
        "clamp_norm_factor": hyper["clamp_norm_factor"],
        "kl_factor": hyper["kl_factor"],
        "context_groups": GROUPS,
    }
    solve = {
        "type": "least_squares",
        "covariance": {"file": "cov_gpt2.safetensors"},
        "covariance_weight": hyper["mom2_update_weight"],
        "slack": hyper.get("emmet_lambda", 1),
    }
    spec = {"type": "locate_then_edit", "site": {"layers": hyper["layers"]}, "value": value, "solve": solve}
    return LocateThenEdit.model_validate_json(json.dumps(spec))


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
    lm: LanguageModel, editing: Path, edit_requests: list[EditRequest], job: Job, name: str
) -> None:
    method, tensors = algorithm(editing, name), load_file(editing / "gpt2" / f"{name}.safetensors")
    known = grounds(method, lm, job)
    filled = [fill(lm, r, known.templates, method.value.kl_prompt) for r in edit_requests]
    wanted = torch.stack([tensors[f"z.{i}"] for i in range(10)])
    (patch,) = patches(method, lm, filled, [0] * 10, known, [job.rng("unused")], wanted)
    compare(patch, tensors, gate=1e-4)


@pytest.mark.parametrize("name", ["memit_batch10", "emmet_batch10"])
def test_the_whole_edit(
    lm: LanguageModel, editing: Path, edit_requests: list[EditRequest], job: Job, name: str
) -> None:
    method, tensors = algorithm(editing, name), load_file(editing / "gpt2" / f"{name}.safetensors")
    method.prepare(lm, job)
    patch, _ = method.apply(lm, edit_requests, None, job)
    compare(patch, tensors, gate=1e-3)
    assert lm.verify() == []
