"""LoRA: the change that is handed over is what `peft` computes, and nothing stays behind."""

from __future__ import annotations

from typing import Any

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.interventions.fine_tune import Lora
from benchwright.adapters.lm.interventions.fine_tune.adapters import adapted, change_of
from benchwright.adapters.lm.interventions.fine_tune.descent import projections
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import LowRank, Patch, stacked
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, encode, forced
from benchwright.job import Job

tiny = lm_fixtures.tiny

JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
REQUESTS = [
    EditRequest("0", "The capital of Vorland is", "Vorland", "Oslo"),
    EditRequest("1", "Mira plays the", "Mira", "horn"),
]
FAMILIES = ["gpt2", "gpt_neox", "opt", "llama"]


def lora(**fields: Any) -> Lora:
    modules = ("attention_query", "attention_value", "mlp_down")
    return Lora(type="lora", **{"modules": modules, "lr": 1e-2, "steps": 40, **fields})


def rows(lm: LanguageModel) -> list[Row]:
    return [encode(lm, r.prompt, r.target_new) for r in REQUESTS]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_says_the_target_and_is_then_as_it_was(family: str) -> None:
    lm = tiny(family)
    names, attributes = [n for n, _ in lm.model.named_modules()], set(vars(lm.model))
    drawn = torch.get_rng_state()
    patch, _ = lora().apply(lm, REQUESTS, None, JOB)
    assert lm.verify() == []
    assert torch.equal(torch.get_rng_state(), drawn)
    assert [n for n, _ in lm.model.named_modules()] == names
    assert set(vars(lm.model)) == attributes
    with patch.applied(lm):
        assert [f.tokens for f in forced(lm, rows(lm), 2)] == [row.target for row in rows(lm)]
    assert all(isinstance(d, LowRank) and d.left.shape[1] == 8 for d in patch.deltas.values())
    again, _ = lora().apply(lm, REQUESTS, None, JOB)
    assert again.digest() == patch.digest()
    assert lm.verify() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_the_change_is_what_the_adapter_does(family: str) -> None:
    lm = tiny(family)
    places = {p.name: p for role in lora().modules for p in projections(lm, 1, role)}
    tokens = torch.tensor([rows(lm)[0].ids])
    with adapted(lora(), lm, list(places.values()), seed=3), torch.no_grad():
        wrapped = {name: lm.model.get_submodule(name) for name in places}
        for module in wrapped.values():
            module.lora_B["edit"].weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
        theirs = lm.model(tokens).logits
        patch = Patch({p.weight_name: change_of(p, wrapped[p.name]) for p in places.values()})
    with torch.no_grad():
        before = lm.model(tokens).logits
        with patch.applied(lm):
            ours = lm.model(tokens).logits
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(ours, before, atol=1e-2)
    assert lm.verify() == []


def test_a_family_s_one_matrix_is_adapted_once() -> None:
    patch, _ = lora(layers=(1,), steps=1).apply(tiny("gpt2"), REQUESTS, None, JOB)
    assert set(patch.deltas) == {"transformer.h.1.attn.c_attn.weight", "transformer.h.1.mlp.c_proj.weight"}


def test_each_edit_of_a_sequence_has_its_own_adapter_and_patches_can_be_stacked() -> None:
    lm = tiny("llama")
    steps = [patch for _, patch, _ in carried_out(lm, lora(), REQUESTS, 1, JOB)]
    with steps[0].applied(lm):
        second, _ = lora().apply(lm, REQUESTS[1:], None, JOB)
    assert steps[0].then(second).digest() == steps[1].digest()
    each = [p for p in lora().apply_each(lm, REQUESTS, JOB) if isinstance(p, Patch)]
    assert all(p.stackable for p in each)
    with stacked(lm, each):
        said = forced(lm, rows(lm), 2, owners=[0, 1])
    assert [f.tokens for f in said] == [row.target for row in rows(lm)]
    assert lm.verify() == []


def test_a_half_precision_model_is_adapted_in_full_precision() -> None:
    lm = tiny("llama", dtype=torch.float16)
    patch, _ = lora(lr=5e-3).apply(lm, REQUESTS, None, JOB)
    with patch.applied(lm):
        assert [f.tokens for f in forced(lm, rows(lm), 2)] == [row.target for row in rows(lm)]
    assert lm.verify() == []


def test_an_error_inside_leaves_no_adapter_behind() -> None:
    lm = tiny("llama")
    with pytest.raises(RuntimeError, match="inside"), adapted(lora(), lm, projections(lm, 0, "mlp_down"), seed=0):
        raise RuntimeError("inside")
    assert lm.verify() == []
