"""Scoring and the proof that a model was left as it was, on every family of architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lm_fixtures
import numpy as np
import pytest
import torch

from benchwright.adapters.lm.architecture import block
from benchwright.adapters.lm.forward import logits_at, padded, recorded
from benchwright.adapters.lm.generation import greedy, sampled
from benchwright.adapters.lm.integrity import _sampled
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.scoring import Row, Unusable, encode, forced, subject_last

PROMPTS = ["The island of Belava exports", "A", "Ships leaving the harbour of Corena carry mostly"]


@pytest.fixture(params=lm_fixtures.FAMILIES)
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    found: LanguageModel = lm_fixtures.tiny(request.param)
    return found


@pytest.fixture
def llama() -> LanguageModel:
    found: LanguageModel = lm_fixtures.tiny("llama")
    return found


def rows(lm: LanguageModel) -> list[Row]:
    return [encode(lm, p, t) for p, t in zip(PROMPTS, ("amber", "salt", "cedar"), strict=True)]


def test_the_target_is_what_reaches_beyond_the_prompt(llama: LanguageModel) -> None:
    for prompt, target, text in (("a", "bc", " bc"), ("a ", "bc", "bc"), ("a", " bc", " bc"), ("ä", "é", " é")):
        row = encode(llama, prompt, target)
        assert llama.tokenizer.decode(row.target) == text
        assert row.prompt[0] == llama.tokenizer.bos_token_id


@pytest.mark.parametrize(
    ("prompt", "target", "reason"),
    [("a", " ", "the target is empty"), ("a" * 200, "b", "longer than the model's context of 128 tokens")],
)
def test_what_cannot_be_asked(llama: LanguageModel, prompt: str, target: str, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        encode(llama, prompt, target)


def test_greedy_equals_generate(lm: LanguageModel) -> None:
    for row in rows(lm):
        said = greedy(lm, [row.prompt], [6], 1)[0]
        ids = torch.tensor([row.prompt])
        settings = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 1}
        generated = lm.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, len(row.prompt) :]
        assert said == tuple(generated.tolist())


def test_forced_tokens_are_the_target_exactly_where_greedy_produces_it(lm: LanguageModel) -> None:
    for row in rows(lm):
        own = row.with_target(greedy(lm, [row.prompt], [5], 1)[0])
        assert forced(lm, [own], 1)[0].tokens == own.target
        wrong = own.with_target((*own.target[:2], (own.target[2] + 1) % 200, *own.target[3:]))
        said = forced(lm, [wrong], 1)[0].tokens
        assert said[:3] == own.target[:3]
        assert said != wrong.target


def test_the_likelihood_is_the_mean_over_the_target(lm: LanguageModel) -> None:
    row = rows(lm)[0]
    with torch.inference_mode():
        logits = lm.model(input_ids=torch.tensor([row.ids])).logits[0, row.start - 1 : -1].float()
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(row.target))
    assert forced(lm, [row], 1)[0].nll == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("left", [False, True])
def test_logits_do_not_depend_on_neighbours_or_padding(lm: LanguageModel, left: bool) -> None:
    found = rows(lm)
    with torch.inference_mode():
        together = lm.model(**padded([r.ids for r in found], lm.device, left=left)).logits
        for i, row in enumerate(found):
            alone = lm.model(input_ids=torch.tensor([row.ids])).logits[0]
            n = len(row.ids)
            torch.testing.assert_close(together[i, -n:] if left else together[i, :n], alone, atol=1e-4, rtol=0)
            places = logits_at(lm, [row.ids], [range(n)], [0])
            torch.testing.assert_close(places, alone.float(), atol=1e-4, rtol=0)
    in_ones, in_threes = forced(lm, found, 1), forced(lm, found, 3)
    assert [f.tokens for f in in_ones] == [f.tokens for f in in_threes]
    assert [f.nll for f in in_ones] == pytest.approx([f.nll for f in forced(lm, found[::-1], 2)[::-1]], abs=1e-4)
    prompts = [r.prompt for r in found]
    assert greedy(lm, prompts, [4, 6, 5], 3) == [
        greedy(lm, [p], [n], 1)[0] for p, n in zip(prompts, (4, 6, 5), strict=True)
    ]


def test_a_sample_depends_on_its_own_draws_alone(lm: LanguageModel) -> None:
    prompts = [r.prompt for r in rows(lm)]
    draws = np.random.default_rng(0).random((3, 8))
    together = sampled(lm, prompts, [8] * 3, 3, 5, draws)
    assert together == [sampled(lm, [p], [8], 1, 5, d[None])[0] for p, d in zip(prompts, draws, strict=True)]
    assert sampled(lm, prompts, [8] * 3, 3, 1, draws) == greedy(lm, prompts, [8] * 3, 3)
    assert sampled(lm, prompts, [8] * 3, 3, 5, draws[::-1]) != together


def test_writing_ends_at_a_stop(llama: LanguageModel) -> None:
    row = rows(llama)[0]
    (text,) = greedy(llama, [row.prompt], [6], 1)
    assert greedy(llama, [row.prompt], [6], 1, stop=frozenset({text[2]}))[0] == text[: text.index(text[2]) + 1]


def test_what_a_module_sees_is_recorded_and_the_rest_is_not_computed(lm: LanguageModel) -> None:
    name, _ = block(lm.model, 0)
    above: list[int] = []
    handle = block(lm.model, 1)[1].register_forward_hook(lambda *a: above.append(1))
    ids = [row.ids for row in rows(lm)]
    (inputs, output) = recorded(lm, ids, [name])[name]
    handle.remove()
    assert not above
    assert lm.verify() == []
    # Asking transformers for hidden states leaves hooks behind in the model.
    with torch.inference_mode():
        states = lm.model(**padded(ids, lm.device), output_hidden_states=True).hidden_states
    real = padded(ids, lm.device)["attention_mask"].bool()
    torch.testing.assert_close(inputs[real], states[0][real])
    torch.testing.assert_close(output[real], states[1][real])


def test_the_last_token_of_the_subject(llama: LanguageModel) -> None:
    for prompt, subject, end in (("Old Rome fell", "Rome", 8), ("Rome and Rome", "Rome", 13), ("x é y", "é", 4)):
        place = subject_last(llama, prompt, subject)
        assert place == len(llama.tokenizer(prompt[: prompt.rfind(subject) + len(subject)])["input_ids"]) - 1, end
    inside = subject_last(llama, "Ann was born in Annapolis", "Ann")
    assert inside == len(llama.tokenizer("Ann")["input_ids"]) - 1
    with pytest.raises(Unusable, match="does not contain its subject"):
        subject_last(llama, "Paris", "Rome")


class Swapped(torch.nn.Linear):
    """Another module of the same kind."""


def _swap(model: Any) -> None:
    model.model.layers[0].mlp.up_proj = Swapped(32, 64, bias=False)


LEAKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "in place": (lambda m: m.model.norm.weight.data.fill_(2.0), "norm.weight has other values"),
    "one element through .data": (lambda m: m.model.embed_tokens.weight.data[7].add_(1e-6), "has other values"),
    "another tensor": (
        lambda m: setattr(m.model.norm, "weight", torch.nn.Parameter(m.model.norm.weight.detach().clone(), False)),
        "norm.weight is another tensor",
    ),
    "buffer": (lambda m: m.model.rotary_emb.inv_freq.mul_(1.5), "inv_freq has other values"),
    "hook": (lambda m: m.model.layers[0].register_forward_hook(lambda *a: None), "hooks changed, 0 before and 1 now"),
    "gradient": (lambda m: m.model.norm.weight.requires_grad_(True), "requires_grad True"),
    "mode": (lambda m: m.train(), "training changed"),
    "forward": (lambda m: setattr(m.model.layers[0].mlp, "forward", lambda x: x), "mlp.forward changed"),
    "scaling": (lambda m: setattr(m.model.layers[0].self_attn, "scaling", 0.5), "self_attn.scaling changed"),
    "configuration": (lambda m: setattr(m.config, "rms_norm_eps", 1.0), "the configuration changed"),
    "parameter's hook": (
        lambda m: m.model.norm.weight.requires_grad_(True).register_hook(lambda g: g),
        "hooks changed",
    ),
    "module": (_swap, "modules were exchanged"),
    "new parameter": (lambda m: m.register_parameter("extra", torch.nn.Parameter(torch.ones(1))), "extra is new"),
}  # fmt: skip


@pytest.mark.parametrize("leak", LEAKS)
def test_every_kind_of_leak_is_seen(llama: LanguageModel, leak: str) -> None:
    assert llama.verify() == []
    change, message = LEAKS[leak]
    change(llama.model)
    assert any(message in found for found in llama.verify()), leak


def test_writing_and_putting_back_is_no_leak(llama: LanguageModel) -> None:
    weight = llama.model.model.norm.weight
    original = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(3)
        weight.copy_(original)
    assert llama.verify() == []
    with torch.no_grad():  # what subtraction leaves behind
        big = torch.full_like(weight, 1e4)
        weight.add_(0.123).add_(big).sub_(big).sub_(0.123)
    assert llama.verify() != []


def test_leaks_beside_the_model_are_seen(llama: LanguageModel) -> None:
    llama.tokenizer.padding_side = "left"
    assert llama.verify() == ["the tokenizer's padding_side changed"]
    torch.set_grad_enabled(False)
    try:
        assert llama.verify() == ["the tokenizer's padding_side changed", "torch's gradient mode changed"][1:]
    finally:
        torch.set_grad_enabled(True)


def test_a_column_of_a_large_weight_is_seen_through_data() -> None:
    weight = torch.nn.Linear(512, 512, bias=False).requires_grad_(False)
    for column in (0, 1, 37, 511):
        before = _sampled(weight.weight)
        weight.weight.data[:, column] += 1
        assert _sampled(weight.weight) != before, column


def test_a_hook_in_the_place_of_another_is_seen(llama: LanguageModel) -> None:
    first = llama.model.register_forward_hook(lambda *a: None)
    llama.verify()
    first.remove()
    llama.model.register_forward_hook(lambda *a: None)
    assert llama.verify() == ["hooks changed, 1 before and 1 now"]
