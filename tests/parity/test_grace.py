"""GRACE against what the peer's own code kept on a small GPT-2 (EasyEdit 14cea82): keys, epsilons, and what is said.

The peer draws a new random value at every forward pass once a codebook exists, so that its values depend on how often
the model was called; they are not compared. All ten keys are further apart than two epsilons: expanding and splitting
are in tests/unit/test_grace.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from benchwright.adapters.lm.codebook import Codebook
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.interventions.memory.params import Grace, Site
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import encode, forced
from benchwright.job import Job


def test_keys_and_epsilons(lm: LanguageModel, editing: Path, edit_requests: list[EditRequest]) -> None:
    peer = json.loads((editing / "gpt2" / "grace_seq10.json").read_text(encoding="utf-8"))["hparams"]
    assert peer["inner_params"] == ["transformer.h[4].mlp.c_fc.weight"]
    assert peer["replacement"] == "replace_last"
    algorithm = Grace(
        type="grace",
        site=Site(module="mlp_up", layer=4),
        epsilon=peer["eps"],
        start=peer["val_init"],
        lr=peer["edit_lr"],
        steps=peer["n_iter"],
    )
    job = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
    *_, (_, patch, _) = carried_out(lm, algorithm, edit_requests, 1, job)
    ours, theirs = patch.inserts["transformer.h.4.mlp.c_fc"], load_file(editing / "gpt2" / "grace_seq10.safetensors")
    assert isinstance(ours, Codebook)
    assert ours.keys.shape == theirs["keys"].shape
    assert float((ours.keys - theirs["keys"]).norm() / theirs["keys"].norm()) < 1e-5
    assert torch.equal(ours.epsilons, theirs["epsilons"])
    assert ours.values.shape == theirs["values"].shape
    # Every edit helps to the end, whatever came later; few succeed on this model, in the peer's run as in this one.
    rows = [encode(lm, r.prompt, r.target_new) for r in edit_requests]
    before = forced(lm, rows, 10)
    with patch.applied(lm):
        after = forced(lm, rows, 10)
    assert all(a.nll < b.nll for a, b in zip(after, before, strict=True))
    assert lm.verify() == []
