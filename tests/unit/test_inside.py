"""Looking inside a model: closed forms, and what must be so whatever the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lm_fixtures import tiny

from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.targets import logit_difference, probability, rank
from benchwright.adapters.lm.graph.values import last_logits, record
from benchwright.adapters.lm.graph.wiring import Wiring
from benchwright.adapters.lm.inside.direct import direct
from benchwright.adapters.lm.inside.heads import TYPES, Heads, attended, heads, types
from benchwright.adapters.lm.inside.lens import after_blocks, end, lens
from benchwright.adapters.lm.inside.neurons import activations, attribution, knowledge_neurons, scaled
from benchwright.adapters.lm.inside.passes import outputs
from benchwright.adapters.lm.inside.roles import ROLES, places, subject_span
from benchwright.adapters.lm.inside.tracing import Corrupted, Site, corrupted, restored, spread, trace, window_of
from benchwright.adapters.lm.scoring import Unusable

FAMILIES = ("gpt2", "gpt_neox", "gptj", "llama", "qwen3", "gemma2", "gemma3_text", "phi")
TOKENS = torch.tensor([[5, 9, 2, 7, 30, 11], [8, 3, 3, 21, 6, 12], [40, 1, 17, 4, 4, 9]])
ANSWERS = torch.tensor([[7, 9], [4, -1], [30, 31]])
WRONGS = torch.tensor([[3], [5], [8]])
SPAN = (1, 4)


@pytest.fixture(params=FAMILIES)
def wiring(request: pytest.FixtureRequest) -> Any:
    found = wiring_of(tiny(request.param, layers=3))
    yield found
    assert found.lm.verify() == []


def uncapped(wiring: Wiring, logits: torch.Tensor) -> torch.Tensor:
    cap = getattr(wiring.lm.model.config, "final_logit_softcapping", None)
    return logits if cap is None else (logits / cap).atanh() * cap


def test_probability_and_rank() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0], [4.0, 0.0, 1.0, 2.0]])
    answers = torch.tensor([[1, 2], [3, -1]])
    expected = logits.softmax(-1)
    assert probability(logits, answers).tolist() == pytest.approx(
        [float(expected[0, 1:3].sum()), float(expected[1, 3])]
    )
    assert rank(logits, answers).tolist() == [1, 1]
    both = torch.stack([logits, logits], 1)
    assert rank(both, answers).tolist() == [[1, 1], [1, 1]]


def test_lens_ends_with_the_model(wiring: Wiring) -> None:
    """After the last block the lens is the model itself, at every position."""
    found = lens(wiring, TOKENS, ANSWERS)
    logits = wiring.lm.model(input_ids=TOKENS).logits.float()
    assert found.rank.shape == found.probability.shape == (3, 3, 6)
    assert torch.equal(found.rank[:, -1], rank(logits, ANSWERS))
    torch.testing.assert_close(found.probability[:, -1], probability(logits, ANSWERS))


def test_lens_is_norm_and_head(wiring: Wiring) -> None:
    """In between it is final norm, head, and the soft cap where there is one."""
    stream, template = after_blocks(wiring, TOKENS)[0], outputs(wiring, TOKENS)[0]
    by_hand = wiring.lm.model.get_output_embeddings()(wiring.final_norm(stream)).float()
    torch.testing.assert_close(uncapped(wiring, end(wiring, TOKENS, stream, template)), by_hand, atol=1e-4, rtol=1e-4)


def test_direct_attributions_sum_to_the_difference(wiring: Wiring) -> None:
    found = direct(wiring, TOKENS, ANSWERS, WRONGS)
    assert found.sources.shape == (3, len(wiring.graph.sources))
    logits = uncapped(wiring, last_logits(wiring, TOKENS))
    batch: Any = type("Batch", (), {"answer": ANSWERS, "wrong": WRONGS})
    torch.testing.assert_close(found.sources.sum(1) + found.rest, logit_difference(logits, batch), atol=1e-4, rtol=1e-4)


def case_of(wiring: Wiring, site: Site, samples: int = 3) -> Corrupted:
    noise = torch.randn(samples, SPAN[1] - SPAN[0], wiring.width, generator=torch.Generator().manual_seed(1))
    return corrupted(wiring, TOKENS[0].tolist(), (7, 9), SPAN, 3 * spread(wiring) * noise, site)


@torch.no_grad()
def test_spread_is_that_of_the_embeddings(wiring: Wiring) -> None:
    module = wiring.embedding[1]
    every = module(torch.arange(len(module.weight)))
    assert spread(wiring) == pytest.approx(float(every.std(unbiased=False)), rel=1e-5)


def test_restoring_a_whole_block_is_clean(wiring: Wiring) -> None:
    case = case_of(wiring, "stream")
    everywhere = torch.ones(1, 6, dtype=torch.bool)
    assert case.clean == pytest.approx(float(probability(last_logits(wiring, TOKENS[:1]), ANSWERS[:1])[0]), rel=1e-5)
    for block in range(3):
        found = restored(case, range(block, block + 1), everywhere, 8)
        torch.testing.assert_close(found, torch.full((1, 3), case.clean), atol=1e-6, rtol=1e-4)


def test_restoring_nothing_is_corrupted(wiring: Wiring) -> None:
    for site in ("stream", "mlp", "attention"):
        case = case_of(wiring, site)
        assert (case.noisy - case.clean).abs().max() > 1e-4
        for window in (range(1, 2), range(0)):
            found = restored(case, window, torch.zeros(1, 6, dtype=torch.bool), 8)
            torch.testing.assert_close(found[0], case.noisy, atol=1e-6, rtol=1e-4)


def test_restoring_where_nothing_is_changed(wiring: Wiring) -> None:
    """Before the subject a state is the same with and without noise."""
    case = case_of(wiring, "stream")
    where = torch.zeros(1, 6, dtype=torch.bool)
    where[0, 0] = True
    torch.testing.assert_close(restored(case, range(1, 2), where, 8)[0], case.noisy, atol=1e-6, rtol=1e-4)
    found = trace(case, SPAN, 1, 8)
    assert found.effect.shape == (6, 3)
    assert found.effect[0].eq(0).all()
    # What the last block puts out at the last position decides alone.
    assert float(found.effect[-1, -1]) == pytest.approx(found.total_effect, abs=1e-6)
    assert found.effect[1:-1, -1].abs().max() < 1e-6


def test_noise_comes_to_the_end_by_attention(wiring: Wiring) -> None:
    """With all of attention's outputs there put back nothing is left of it; with those of the MLPs something is."""
    last = torch.zeros(1, 6, dtype=torch.bool)
    last[0, -1] = True
    case = case_of(wiring, "attention")
    torch.testing.assert_close(restored(case, range(3), last, 8), torch.full((1, 3), case.clean), atol=1e-6, rtol=1e-4)
    assert (restored(case_of(wiring, "mlp"), range(3), last, 8) - case.clean).abs().max() > 1e-5


@pytest.mark.parametrize("window", [range(2), range(1, 3)])
@pytest.mark.parametrize("site", ["stream", "mlp", "attention"])
def test_resumed_restoration_is_a_whole_run(wiring: Wiring, site: Site, window: range) -> None:
    """By brute force: one run with the noise on its embedding and hooks on the states."""
    case = case_of(wiring, site, samples=1)
    where = torch.tensor([[False, False, True, False, True, False]])
    noise = torch.randn(1, 3, wiring.width, generator=torch.Generator().manual_seed(1)) * 3 * spread(wiring)
    from benchwright.adapters.lm.inside.tracing import _module, _putting

    def noisy(_: Any, __: Any, out: torch.Tensor) -> torch.Tensor:
        out = out.clone()
        out[:, 1:4] += noise
        return out

    handles = [wiring.embedding[1].register_forward_hook(noisy)]
    handles += [_module(wiring, site, b).register_forward_hook(_putting(case.states[b], where)) for b in window]
    with torch.no_grad():
        expected = probability(last_logits(wiring, TOKENS[:1]), ANSWERS[:1])
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(restored(case, window, where, 8)[0], expected, atol=1e-6, rtol=1e-4)


def test_traces_do_not_depend_on_batches(wiring: Wiring) -> None:
    one, many = (trace(case_of(wiring, "mlp"), SPAN, 2, size).effect for size in (1, 64))
    torch.testing.assert_close(one, many, atol=1e-5, rtol=1e-5)


def test_windows_are_those_of_the_paper_s_code() -> None:
    assert window_of(5, 1, 12) == range(5, 6)
    assert window_of(5, 10, 48) == range(0, 10)
    assert window_of(20, 3, 48) == range(19, 22)
    assert window_of(47, 10, 48) == range(42, 48)


def test_attribution_is_complete(wiring: Wiring) -> None:
    """It sums to what the probability loses without a block's neurons at the last position."""
    found = attribution(wiring, TOKENS, ANSWERS, 200, 64)
    clean = probability(last_logits(wiring, TOKENS), ANSWERS)
    active = activations(wiring, TOKENS)
    assert found.shape == active.shape
    for layer in range(3):
        factors = torch.ones_like(active)
        factors[:, layer] = 0
        lost = clean - scaled(wiring, TOKENS, ANSWERS, factors).exp()
        if wiring.layers[0].mlp_after is None:
            torch.testing.assert_close(found[:, layer].sum(1), lost, atol=1e-4, rtol=2e-2)
    torch.testing.assert_close(scaled(wiring, TOKENS, ANSWERS, torch.ones_like(active)).exp(), clean)


def test_attributions_do_not_depend_on_batches(wiring: Wiring) -> None:
    one = torch.cat([attribution(wiring, TOKENS[i : i + 1], ANSWERS[i : i + 1], 5, 2) for i in range(3)])
    torch.testing.assert_close(one, attribution(wiring, TOKENS, ANSWERS, 5, 64), atol=1e-6, rtol=1e-4)


def test_which_neurons_are_knowledge_neurons() -> None:
    attributed = torch.tensor([[[1.0, 0.1, -2.0], [0.21, 0.0, 0.2]], [[-1.0, -2.0, -3.0], [0.0, -1.0, 0.0]]])
    found = knowledge_neurons(attributed, 0.2)
    assert found.tolist()[0] == [[True, False, False], [True, False, False]]
    assert not found[1].any()


@torch.no_grad()
def test_attention_explains_what_heads_find(wiring: Wiring) -> None:
    """Rows sum to 1, and attention times values is what the output projection is given."""
    attention, values = attended(wiring, TOKENS)
    seen: list[torch.Tensor] = []
    hooks = [
        layer.out.module.register_forward_pre_hook(lambda _, args: seen.append(args[0][:, -1]))
        for layer in wiring.layers
    ]
    last_logits(wiring, TOKENS)
    for hook in hooks:
        hook.remove()
    for weights, value, expected in zip(attention, values, seen, strict=True):
        assert weights.shape == (3, wiring.graph.heads, 6)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, wiring.graph.heads))
        found = torch.einsum("bhp,bphe->bhe", weights, value.repeat_interleave(wiring.graph.group, 2))
        torch.testing.assert_close(found.flatten(1), expected, atol=1e-5, rtol=1e-4)


def test_shares_of_positions_sum_to_a_head_s_share(wiring: Wiring) -> None:
    found = heads(wiring, TOKENS, ANSWERS, WRONGS)
    whole = direct(wiring, TOKENS, ANSWERS, WRONGS).sources
    for layer in range(3):
        expected = whole[:, wiring.graph.head_sources(layer)]
        torch.testing.assert_close(found.direct[:, layer].sum(-1), expected, atol=1e-5, rtol=1e-4)


def test_rank_of_what_a_head_writes(wiring: Wiring) -> None:
    """The answer that wins is the one at the top of norm and head on the head's output alone."""
    seen = record(wiring, TOKENS)
    found = heads(wiring, TOKENS, ANSWERS, WRONGS)
    written = torch.einsum("he,hed->hd", seen.values.heads[1][0, -1], wiring.layers[1].heads)
    norm = wiring.final_norm
    logits = (norm.centre(written) * norm.gain) @ wiring.lm.model.get_output_embeddings().weight.T
    assert torch.equal(found.answer_rank[0, 1], rank(logits, ANSWERS[:1].expand(len(logits), -1)))


def test_an_exception_leaves_the_model_as_it_was() -> None:
    wiring = wiring_of(tiny("llama"))
    with pytest.raises(RuntimeError):
        attribution(wiring, TOKENS, torch.full((3, 1), 10**6), 2, 8)
    with pytest.raises(IndexError):
        heads(wiring, torch.full((1, 4), 10**6), ANSWERS[:1], WRONGS[:1])
    with pytest.raises(RuntimeError):
        corrupted(wiring, [1, 2, 3], (4,), (0, 2), torch.zeros(2, 1, 7), "mlp")
    assert wiring.lm.verify() == []


def test_types_of_heads() -> None:
    """Where each head looks, what it writes, what it is; the subject is at 2 and 3 of 6 positions."""
    cases = {
        "at the first token": ({0: 1.0}, 0, 5.0, "other"),
        "at the last token": ({5: 1.0}, 0, 5.0, "other"),
        "at the subject's first token": ({2: 1.0}, 0, 5.0, "other"),
        "moves": ({3: 1.0}, 0, 5.0, "mover"),
        "moves little": ({3: 0.3}, 9, 0.5, "mover"),
        "moves too little": ({3: 1.0}, 0, 0.4, "subject"),
        "writes something else": ({3: 1.0}, 10, 5.0, "subject"),
        "relation in two tokens": ({1: 0.2, 4: 0.2}, 0, 5.0, "relation"),
        "both": ({3: 0.5, 4: 0.5}, 0, 5.0, "mixture"),
        "both, and writes something else": ({3: 0.5, 4: 0.5}, 50, 5.0, "relation"),
    }
    attention, shares = torch.zeros(1, 1, len(cases), 6), torch.zeros(1, 1, len(cases), 6)
    for head, (where, _, added, _) in enumerate(cases.values()):
        shares[0, 0, head, 0] = added
        for position, weight in where.items():
            attention[0, 0, head, position] = weight
    ranks = torch.tensor([[[rank for _, rank, _, _ in cases.values()]]])
    found = types(Heads(attention, shares, ranks), 0, (2, 4), attends=0.3, top=10, least=0.1)
    assert [TYPES[int(code)] for code in found[0]] == [kind for *_, kind in cases.values()]


def test_roles() -> None:
    assert places(8, (1, 4)) == [[1], [2], [3], [4], [5, 6], [7]]
    assert places(4, (1, 2)) == [[], [], [1], [2], [], [3]]
    assert places(3, (0, 2)) == [[0], [], [1], [], [], [2]]
    assert places(3, (1, 3)) == [[1], [], [2], [], [], []]
    assert len(ROLES) == 6


def test_spans() -> None:
    lm = tiny("gpt2")
    first, stop = subject_span(lm, "Ann of Annapolis", "Ann")
    assert (first, stop) == (1, 4)
    assert subject_span(lm, "who is Ann Lee", "Ann Lee") == (8, 15)
    with pytest.raises(Unusable, match="subject"):
        subject_span(lm, "nobody", "Ann")
