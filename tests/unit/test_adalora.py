"""AdaLoRA: the budget is met, the change is what peft computes, the regulariser is the paper's; DPO of requests."""

from __future__ import annotations

from typing import Any

import lm_fixtures
import pytest
import torch
from pydantic import ValidationError

from benchwright.adapters.lm.interventions.fine_tune import AdaLora, FineTune, Parameters
from benchwright.adapters.lm.interventions.fine_tune.adapters import adapted, change_of
from benchwright.adapters.lm.interventions.fine_tune.allocation import not_orthonormal
from benchwright.adapters.lm.interventions.fine_tune.descent import projections
from benchwright.adapters.lm.interventions.prefer import Prefer
from benchwright.adapters.lm.interventions.tune.params import Adapter
from benchwright.adapters.lm.patch import LowRank, Patch, dense, stacked
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Unusable, encode, forced
from benchwright.job import Job

tiny = lm_fixtures.tiny

JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
REQUESTS = [
    EditRequest("0", "The capital of Vorland is", "Vorland", "Oslo", "Rome"),
    EditRequest("1", "Mira plays the", "Mira", "horn"),
]


def adalora(**fields: Any) -> AdaLora:
    common = {"modules": ("attention_query", "mlp_down"), "lr": 2e-2, "steps": 20, "rank": 2, "initial_rank": 4}
    return AdaLora(type="adalora", **{**common, "stop_loss": 0.0, **fields})


def ranks(patch: Patch) -> list[int]:
    return [d.left.shape[1] for d in patch.deltas.values() if isinstance(d, LowRank)]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_last_budget_is_met_and_the_model_is_then_as_it_was(family: str) -> None:
    lm = tiny(family)
    rows = [encode(lm, r.prompt, r.target_new) for r in REQUESTS]
    drawn, before = torch.get_rng_state(), forced(lm, rows, 2)
    patch, _ = adalora().apply(lm, REQUESTS, None, JOB)
    assert lm.verify() == []
    assert torch.equal(torch.get_rng_state(), drawn)
    # Two projections in each of two layers, two triplets each on average; which have more is learned.
    assert sum(ranks(patch)) == 2 * 2 * 2
    assert adalora().apply(lm, REQUESTS, None, JOB)[0].digest() == patch.digest()
    with patch.applied(lm):
        after = forced(lm, rows, 2)
    assert all(a.nll < b.nll / 2 for a, b in zip(after, before, strict=True))
    each = [p for p in adalora().apply_each(lm, REQUESTS, JOB) if isinstance(p, Patch)]
    with stacked(lm, each):
        assert forced(lm, rows, 2, owners=[0, 1])[0].nll < before[0].nll / 2
    assert lm.verify() == []


def test_without_allocation_every_triplet_stays() -> None:
    assert ranks(adalora(allocate=False, steps=4, rank=8).apply(tiny("llama"), REQUESTS, None, JOB)[0]) == [4] * 4
    # Without any update nothing has changed.
    assert ranks(adalora(stop_loss=1e9).apply(tiny("llama"), REQUESTS, None, JOB)[0]) == [0] * 4


def test_the_budget_falls_by_the_cubic_of_the_paper() -> None:
    """b(t) of equation 12, as peft computes it from our numbering of the steps."""
    lm, spec = tiny("llama"), adalora(warmup=4, final=6)
    places = projections(lm, 0, "mlp_down") + projections(lm, 1, "mlp_down")
    with adapted(spec, lm, places, 0) as tuner:
        found = [tuner.rankallocator.budget_schedule(t)[0] for t in range(1, 21)]
    wanted = [int((8 - 4) * (1 - (t - 4) / (20 - 6 - 4)) ** 3 + 4) for t in range(5, 15)]
    assert found == [8] * 4 + wanted + [4] * 6


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_change_is_what_the_adapter_does_and_the_penalty_that_of_its_formula(family: str) -> None:
    lm = tiny(family)
    places = {p.name: p for p in (*projections(lm, 1, "mlp_down"), *projections(lm, 0, "attention_query"))}
    tokens = torch.tensor([encode(lm, "Mira plays", "horn").ids])
    with adapted(adalora(), lm, list(places.values()), seed=3), torch.no_grad():
        wrapped = {name: lm.model.get_submodule(name) for name in places}
        for module in wrapped.values():
            for of in (module.lora_A, module.lora_B, module.lora_E):
                of["edit"].normal_(0, 1.0, generator=torch.Generator().manual_seed(0))
        theirs = lm.model(tokens).logits
        patch = Patch({p.weight_name: change_of(p, wrapped[p.name]) for p in places.values()})
        far = [
            float(torch.linalg.matrix_norm(gram - torch.eye(4)))
            for m in wrapped.values()
            for gram in (m.lora_B["edit"].T @ m.lora_B["edit"], m.lora_A["edit"] @ m.lora_A["edit"].T)
        ]
        assert float(not_orthonormal(list(wrapped.values()), "norm")) == pytest.approx(sum(far) / 4)
        squared = sum(f**2 for f in far)
        assert float(not_orthonormal(list(wrapped.values()), "squared")) == pytest.approx(squared, rel=1e-5)
    with torch.no_grad(), patch.applied(lm):
        ours = lm.model(tokens).logits
    assert torch.allclose(ours, theirs, atol=1e-3)
    assert lm.verify() == []


def test_what_has_no_budget_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be above rank"):
        adalora(rank=4)
    with pytest.raises(ValidationError, match="leave none of the 20 steps"):
        adalora(warmup=10, final=10)


def test_one_token_at_one_position_is_the_same_to_ft_l_and_ft_m() -> None:
    """EasyEdit's FT-L differs there on tokenizers that write a beginning-of-text token, which it trains."""
    lm, request = tiny("llama"), EditRequest("0", "Mira plays ", "Mira", "h")
    assert lm.tokenizer.bos_token_id == encode(lm, request.prompt, request.target_new).ids[0]
    made = [
        FineTune(type="fine_tune", parameters=Parameters(layers=(1,)), objective=objective, lr=1e-2, steps=3)
        for objective in ("target_tokens", "last_token")
    ]
    m, last = ({n: dense(d) for n, d in f.apply(lm, [request], None, JOB)[0].deltas.items()} for f in made)
    assert all(torch.allclose(m[name], last[name], atol=1e-6) for name in m)
    assert any(d.abs().sum() > 0 for d in m.values())


def prefer(**fields: Any) -> Prefer:
    return Prefer(type="prefer", **{"parameters": Adapter(type="lora", rank=4), "lr": 1e-2, "steps": 20, **fields})


def test_the_new_target_comes_to_be_preferred_over_the_true_one_or_what_was_said() -> None:
    lm = tiny("gpt2")
    said = forced(lm, [encode(lm, REQUESTS[1].prompt, REQUESTS[1].target_new)], 1)[0]
    new = [encode(lm, r.prompt, r.target_new) for r in REQUESTS]
    old = [encode(lm, REQUESTS[0].prompt, "Rome"), new[1].with_target(said.tokens[:1])]
    before = forced(lm, [*new, *old], 4)
    patch, state = prefer().apply(lm, REQUESTS, None, JOB)
    assert state is None
    assert prefer().apply(lm, REQUESTS, None, JOB)[0].digest() == patch.digest()
    with patch.applied(lm):
        after = forced(lm, [*new, *old], 4)
    assert lm.verify() == []
    gain = [b.nll - a.nll for a, b in zip(after, before, strict=True)]
    assert gain[0] > gain[2]
    assert gain[1] > gain[3]


def test_the_first_step_of_preference_widens_the_gap_by_the_rate() -> None:
    lm = tiny("llama")
    rows = [encode(lm, REQUESTS[0].prompt, target) for target in ("Oslo", "Rome")]
    new, old = forced(lm, rows, 2)
    patch = prefer(steps=1, lr=1e-3).apply(lm, REQUESTS[:1], None, JOB)[0]
    # Adam's first step moves each number of B by the rate; A has no gradient while B is zero.
    for delta in patch.deltas.values():
        assert isinstance(delta, LowRank)
        moved = delta.left.abs() / (32.0 / 4)
        assert torch.allclose(moved[moved > 0], torch.tensor(1e-3), rtol=1e-2)
    with patch.applied(lm):
        after_new, after_old = forced(lm, rows, 2)
    assert after_old.nll - after_new.nll > old.nll - new.nll


def test_a_true_target_that_cannot_be_asked_is_refused() -> None:
    with pytest.raises(Unusable, match="empty"):
        prefer().check(tiny("gpt2"), EditRequest("0", "Mira plays", "Mira", "horn", " "), JOB)
