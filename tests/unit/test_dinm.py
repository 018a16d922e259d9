"""DINM: what each part of it does, with known answers; the peer's numbers are in tests/parity/test_dinm.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lm_fixtures import tiny

from benchwright.adapters.lm.interventions.dinm import Dinm
from benchwright.adapters.lm.interventions.dinm.location import distances, farthest
from benchwright.adapters.lm.losses import Targets
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Unusable, encode, encode_prompt, forced

NONE: Any = None
KEEP = (("what is the sky ?", "blue"),)
REQUESTS = [
    EditRequest("0", "zib zab flurb ?", "", "no , sorry", "sure , xan", keep=KEEP),
    EditRequest("1", "how do i make flurb ?", "", "sorry , not that", "here : xen xin", keep=KEEP),
    EditRequest("2", "flurb now", "", "no", "xin xan xen", keep=(("and the grass ?", "green"),)),
]


def dinm(**fields: Any) -> Dinm:
    return Dinm(type="dinm", **{"lr": 1e-3, **fields})


def nll(lm: LanguageModel, patch: Patch, prompt: str, answer: str) -> float:
    with patch.applied(lm):
        (found,) = forced(lm, [encode(lm, patch.prompt(prompt), answer)], 1)
    return found.nll


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "gemma2", "phi"])
def test_it_moves_one_matrix_and_makes_the_safe_response_likelier(family: str) -> None:
    lm, request = tiny(family), REQUESTS[0]
    before = nll(lm, Patch(), request.prompt, request.target_new)
    patch, _ = dinm(layer=1).apply(lm, [request], None, NONE)
    (name,) = patch.deltas
    assert ".1." in name
    assert name.endswith("weight")
    assert nll(lm, patch, request.prompt, request.target_new) < before
    assert lm.verify() == []
    # The losses that it tells are those of the models on its way: the first one is the untouched model's.
    assert patch.notes["nll"][0] == pytest.approx(before, rel=1e-5)
    assert patch.notes["kl"][0] == pytest.approx(0.0, abs=1e-6)
    assert len(patch.notes["loss"]) == 10


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("layer", [1, "raw", "relative"])
def test_side_by_side_is_as_alone(family: str, layer: Any) -> None:
    lm, method = tiny(family), dinm(layer=layer)
    for patch, request in zip(method.apply_each(lm, REQUESTS, NONE), REQUESTS, strict=True):
        assert isinstance(patch, Patch)
        alone, _ = method.apply(lm, [request], None, NONE)
        assert patch.notes["layer"] == alone.notes["layer"]
        for name, delta in alone.tensors().items():
            assert (patch.tensors()[name] - delta).abs().max() < 1e-6


def test_few_at_a_time_give_the_same_patches() -> None:
    lm = tiny("llama")
    room = 2**20 // (4 * 4 * lm.model.model.layers[1].mlp.down_proj.weight.numel())
    requests = [EditRequest(str(i), f"{REQUESTS[i % 3].prompt} {i}", "", "no , sorry") for i in range(room + 3)]
    one, many = (dinm(layer=1, steps=2, together_mb=mb).apply_each(lm, requests, NONE) for mb in (1, 2048))
    for few, all_ in zip(one, many, strict=True):
        assert isinstance(few, Patch)
        assert isinstance(all_, Patch)
        assert all((few.tensors()[n] - d).abs().max() < 1e-6 for n, d in all_.tensors().items())


def test_the_constraint_keeps_the_harmless_answer() -> None:
    lm, request = tiny("llama"), REQUESTS[0]
    moved = {}
    for how in ("after_before", "before_after", "released", "none"):
        patch, _ = dinm(layer=1, lr=5e-3, constraint=how, edit_weight=0.01).apply(lm, [request], None, NONE)
        moved[how] = kl(lm, patch, *KEEP[0])
    assert moved["after_before"] < 0.5 * moved["none"]
    assert moved["before_after"] < 0.5 * moved["none"]
    # Without a gradient it holds nothing at all.
    assert moved["released"] == moved["none"]


def kl(lm: LanguageModel, patch: Patch, prompt: str, answer: str) -> float:
    """KL(before ‖ after) at the answer, mean over its tokens, computed from whole logits."""
    row = encode(lm, prompt, answer)
    ids, places = torch.tensor([row.ids]), list(row.places)
    with torch.no_grad():
        before = lm.model(ids).logits[0, places].log_softmax(-1)
        with patch.applied(lm):
            after = lm.model(ids).logits[0, places].log_softmax(-1)
    return float((before.exp() * (before - after)).sum(-1).mean())


def test_the_told_kl_is_that_of_the_model_on_the_way() -> None:
    lm, request = tiny("llama"), REQUESTS[0]
    short, _ = dinm(layer=1, steps=3, constraint="before_after").apply(lm, [request], None, NONE)
    long, _ = dinm(layer=1, steps=4, constraint="before_after").apply(lm, [request], None, NONE)
    assert long.notes["kl"][:3] == short.notes["kl"]
    assert long.notes["kl"][3] == pytest.approx(kl(lm, short, *KEEP[0]), rel=1e-3, abs=1e-7)


def test_relative_distance_does_not_grow_with_the_scale_or_with_padding() -> None:
    lm = tiny("llama")
    safe, unsafe = encode_prompt(lm, "no , sorry"), encode_prompt(lm, "sure , xan xin xen xan xin")
    found = distances(lm, safe, unsafe, "relative")
    assert len(found) == 2
    assert distances(lm, unsafe, safe, "relative") == pytest.approx(found)
    assert distances(lm, safe, safe, "relative") == pytest.approx([0.0, 0.0], abs=1e-6)
    assert distances(lm, safe, safe, "raw") == pytest.approx([0.0, 0.0], abs=1e-5)
    assert farthest([1.0, 3.0, 3.0, 2.0]) == 1
    # A hidden state by hand: block 0's outputs of both responses alone.
    means = []
    for ids in (safe, unsafe):
        hidden: list[torch.Tensor] = []
        handle = lm.model.model.layers[0].register_forward_hook(lambda _, __, out, h=hidden: h.append(out))
        with torch.no_grad():
            lm.model(torch.tensor([ids]))
        handle.remove()
        out = hidden[0][0] if isinstance(hidden[0], tuple) else hidden[0]
        means.append(out[0].mean(0))
    a, b = means
    assert found[0] == pytest.approx(float((a - b).norm() / ((a.norm() + b.norm()) / 2)), rel=1e-5)
    # Locating leaves nothing behind in the model, hooks included.
    assert lm.verify() == []


def test_a_suffix_is_behind_every_prompt() -> None:
    lm, request = tiny("llama"), REQUESTS[0]
    patch, _ = dinm(layer=1, suffix=" please").apply(lm, [request], None, NONE)
    assert patch.prompt("x") == "x please"
    suffixed = EditRequest(
        "0", "zib zab flurb ? please", "", "no , sorry", "sure", keep=((f"{KEEP[0][0]} please", "blue"),)
    )
    same, _ = dinm(layer=1).apply(lm, [suffixed], None, NONE)
    assert all((patch.tensors()[n] == d).all() for n, d in same.tensors().items())


def test_no_weight_moves_further_than_allowed_and_a_low_loss_ends_it() -> None:
    lm, request = tiny("llama"), REQUESTS[0]
    patch, _ = dinm(layer=1, lr=0.1, max_change=0.02).apply(lm, [request], None, NONE)
    assert max(float(d.abs().max()) for d in patch.tensors().values()) == pytest.approx(0.02)
    still, _ = dinm(layer=1, stop_loss=100.0).apply(lm, [request], None, NONE)
    assert not any(d.any() for d in still.tensors().values())
    assert len(still.notes["loss"]) == 1


def test_a_bias_moves_only_when_asked_and_a_begin_token_is_no_target_unless_asked() -> None:
    lm, request = tiny("gpt2"), REQUESTS[0]
    patch, _ = dinm(layer=1, bias=True).apply(lm, [request], None, NONE)
    assert sorted(n.rpartition(".")[2] for n in patch.deltas) == ["bias", "weight"]
    assert patch.tensors()["transformer.h.1.mlp.c_proj.bias"].any()
    # The byte tokenizer writes a beginning of text; with it as a target, the loss is another one.
    assert lm.tokenizer.bos_token_id == encode(lm, request.prompt, "x").ids[0]
    plain, begun = (dinm(layer=1, begin_as_target=b).apply(lm, [request], None, NONE)[0] for b in (False, True))
    row = encode(lm, request.prompt, request.target_new)
    (expected,) = Targets(lm, [row]).nll().tolist()
    assert plain.notes["nll"][0] == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        logits = lm.model(torch.tensor([row.ids])).logits[0, row.start - 2]
    first = float(-logits.log_softmax(-1)[lm.tokenizer.bos_token_id])
    n = len(row.target)
    assert begun.notes["nll"][0] == pytest.approx((first + n * expected) / (n + 1), rel=1e-5)


def test_what_cannot_be_located_is_unusable() -> None:
    lm = tiny("llama")
    nothing = EditRequest("0", "a ?", "", "no", None)
    (found,) = dinm().apply_each(lm, [nothing], NONE)
    assert isinstance(found, Unusable)
    assert "unsafe response" in str(found)
    # With a given layer nothing has to be located, and without a harmless question nothing is held.
    (patch,) = dinm(layer=0).apply_each(lm, [nothing], NONE)
    assert isinstance(patch, Patch)
    assert set(patch.notes["kl"]) == {0.0}


def test_together_is_one_patch_that_serves_all() -> None:
    lm = tiny("llama")
    patch, _ = dinm(layer=1, lr=5e-3).apply(lm, REQUESTS, None, NONE)
    for request in REQUESTS:
        assert nll(lm, patch, request.prompt, request.target_new) < nll(lm, Patch(), request.prompt, request.target_new)
    mean = sum(nll(lm, Patch(), r.prompt, r.target_new) for r in REQUESTS) / 3
    assert patch.notes["nll"][0] == pytest.approx(mean, rel=1e-5)


def test_half_precision_is_tuned_in_full() -> None:
    lm = tiny("llama", dtype=torch.bfloat16)
    patch, _ = dinm(layer=1, lr=1e-4).apply(lm, REQUESTS[:1], None, NONE)
    (delta,) = patch.tensors().values()
    assert delta.dtype == torch.float32
    # Ten steps of Adam of 1e-4 each, which bfloat16 weights near one could not hold.
    assert 0 < float(delta.abs().max()) <= 1.1e-3
