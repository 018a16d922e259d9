"""AlphaEdit against what the peer's own code produced on a small GPT-2: two batches of five (EasyEdit 14cea82)."""

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
from benchwright.adapters.lm.interventions.locate_then_edit.spread import keys_of, patches
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.job import Job

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def theirs(editing: Path) -> Tensors:
    return load_file(editing / "gpt2" / "alphaedit_seq2x5.safetensors")


@pytest.fixture(scope="module")
def method(as_the_peer: Callable[..., LocateThenEdit]) -> LocateThenEdit:
    def solve(hyper: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "null_space",
            "covariance": {"file": "cov_gpt2.safetensors"},
            "threshold": float(hyper["nullspace_threshold"]),
            "ridge": hyper["L2"],
        }

    return as_the_peer("alphaedit_seq2x5", solve, "block")


def compare(patch: Patch, tensors: Tensors, start: str, gate: float) -> None:
    expected = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
    assert set(patch.deltas) == set(expected)
    for name, delta in expected.items():
        ours = dense(patch.deltas[name])
        assert float((ours - delta).norm() / delta.norm()) < gate, name
        assert float(torch.cosine_similarity(ours.flatten(), delta.flatten(), 0)) > 0.999


def test_the_projection(lm: LanguageModel, method: LocateThenEdit, job: Job, theirs: Tensors) -> None:
    known = grounds(method, lm, job)
    for number, layer in enumerate(method.site.layers):
        expected = theirs["P"][number].double()
        ours = known.inverses[layer](torch.eye(len(expected))) * 10
        assert float((ours - expected).norm() / expected.norm()) < 1e-4


def test_closed_form_of_both_batches(
    lm: LanguageModel, method: LocateThenEdit, edit_requests: list[EditRequest], job: Job, theirs: Tensors
) -> None:
    known = grounds(method, lm, job)
    filled = [fill(lm, r, known.templates, method.value.kl_prompt) for r in edit_requests]
    wanted = torch.stack([theirs[f"z.{i}"] for i in range(10)])
    (first,) = patches(method, lm, filled[:5], [0] * 5, known, [job.rng("unused")], wanted[:5])
    compare(first, theirs, "after_batch1.delta.", gate=1e-4)
    with first.applied(lm):
        keys = keys_of(method, lm, filled[:5], known)
        later = known.remembering(keys)
        (second,) = patches(method, lm, filled[5:], [0] * 5, later, [job.rng("unused")], wanted[5:])
    both = first.then(second)
    compare(both, theirs, "after_batch2.delta.", gate=1e-4)
    with both.applied(lm):
        more = keys_of(method, lm, filled[5:], known)
    for number, layer in enumerate(method.site.layers):
        gram = keys[layer].T @ keys[layer] + more[layer].T @ more[layer]
        expected = theirs["cache_c_after_batch2"][number]
        assert float((gram - expected).norm() / expected.norm()) < 1e-4


def test_the_whole_sequence(
    lm: LanguageModel, method: LocateThenEdit, edit_requests: list[EditRequest], job: Job, theirs: Tensors
) -> None:
    method.prepare(lm, job)
    first, state = method.apply(lm, edit_requests[:5], None, job)
    compare(first, theirs, "after_batch1.delta.", gate=1e-2)
    with first.applied(lm):
        second, state = method.apply(lm, edit_requests[5:], state, job)
    compare(first.then(second), theirs, "after_batch2.delta.", gate=1e-2)
    assert {name: len(keys) for name, keys in state.items()} == {f"keys:{layer}": 10 for layer in (0, 1, 2)}
    assert lm.verify() == []
    # The peer's editor keeps the keys of an edit that was undone; here the next one is what it is without it.
    again, _ = method.apply(lm, edit_requests[:5], None, job)
    assert again.digest() == first.digest()
