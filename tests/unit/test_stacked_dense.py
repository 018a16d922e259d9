"""Small full changes beside each other in one pass: as one model after the other."""

from __future__ import annotations

import pytest
import torch
from lm_fixtures import tiny

from benchwright.adapters.lm.architecture import linear
from benchwright.adapters.lm.patch import SLIM, LowRank, Patch, can_stack, stacked
from benchwright.adapters.lm.prompts import Around
from benchwright.adapters.lm.scoring import encode, forced


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("role", ["mlp_up", "mlp_down"])
def test_stacked_full_changes_are_as_applied_ones(family: str, role: str) -> None:
    lm = tiny(family)
    projection = linear(lm.model, 1, role)
    generator = torch.Generator().manual_seed(0)
    shape = projection.module.weight.shape
    patches = [Patch({projection.weight_name: 0.3 * torch.randn(shape, generator=generator)}) for _ in range(3)]
    slim = [patch.slim(lm) for patch in patches]
    for patch, thin in zip(patches, slim, strict=True):
        (delta,) = thin.deltas.values()
        assert isinstance(delta, LowRank)
        assert (delta.dense() == patch.deltas[projection.weight_name]).all()
    assert can_stack(lm, slim)
    assert not can_stack(lm, patches)
    rows = [encode(lm, f"a b {i}", "c d") for i in range(3)]
    with stacked(lm, slim):
        together = forced(lm, rows, 8, [0, 1, 2])
    for patch, row, said in zip(patches, rows, together, strict=True):
        with patch.applied(lm):
            (alone,) = forced(lm, [row], 1)
        assert said.nll == pytest.approx(alone.nll, abs=1e-4)
    assert lm.verify() == []


def test_what_is_large_or_no_projection_stays_full() -> None:
    lm = tiny("llama")
    embedding = Patch({"model.embed_tokens.weight": torch.ones_like(lm.model.model.embed_tokens.weight)})
    norm = Patch({"model.norm.weight": torch.ones_like(lm.model.model.norm.weight)})
    for patch in (embedding, norm):
        assert not can_stack(lm, [patch.slim(lm)] * 2)
    assert lm.model.lm_head.weight.numel() < SLIM
    assert can_stack(lm, [Patch({"lm_head.weight": torch.ones_like(lm.model.lm_head.weight)}).slim(lm)] * 2)
    # A prompt is no change of weights; what is done with it is done before.
    assert can_stack(lm, [Patch(prompts=Around(after=" x"))] * 2)
    half = tiny("llama", dtype=torch.bfloat16)
    assert not can_stack(half, [Patch()] * 2)
