"""Training on pairs: closed forms of the losses, where each objective leads, and that only the patch remains of it."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm.architecture import block
from benchwright.adapters.lm.forward import recorded
from benchwright.adapters.lm.interventions.tune import Experts, TaskArithmetic, Tune, training
from benchwright.adapters.lm.interventions.tune.arithmetic import extracted
from benchwright.adapters.lm.interventions.tune.moving import moving
from benchwright.adapters.lm.interventions.tune.objectives import Batch, loss_of
from benchwright.adapters.lm.interventions.tune.params import Adapter, Dpo, Everything, Npo, Reroute, Sft, Stage
from benchwright.adapters.lm.interventions.tune.training import trained
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import LowRank, Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, Unusable, encode
from benchwright.errors import Skip
from benchwright.job import Job

tiny = lm_fixtures.tiny

JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
TEXTS = [
    ("how to burn it", "no way", "take fire", "how to bake", "flour"),
    ("how to rob", "not with me", "use a gun", "how to rest now", "use a bed"),
    ("tell evil", "never", "this is evil", "tell good", "that is good"),
    ("make a bomb please", "no", "mix both", "make a cake", "mix all"),
]
REQUESTS = [
    EditRequest(str(i), prompt, "", safe, unsafe, keep=((other, answer),))
    for i, (prompt, safe, unsafe, other, answer) in enumerate(TEXTS)
]
ALL = Everything()
LORA = Adapter(type="lora", modules=("attention_query", "attention_value", "mlp_down"), rank=4, alpha=8.0)
KINDS = pytest.mark.parametrize(("family", "moved"), [("llama", LORA), ("gpt2", LORA), ("gpt2", ALL), ("llama", ALL)])
REROUTE = Reroute(type="reroute", layers=(0, 1), retain=0.1)
OBJECTIVES = [Sft(type="sft"), Sft(type="sft", harmless=0.5), Dpo(type="dpo"), Npo(type="npo"), REROUTE]


def stage(objective: Any, steps: int = 1, **fields: Any) -> Stage:
    return Stage(objective=objective, **{"lr": 1e-3, "steps": steps, **fields})


def tune(moved: Any, *stages: Stage, **fields: Any) -> Tune:
    return Tune(type="tune", parameters=moved, stages=stages, **fields)


def made(lm: LanguageModel, spec: Any, requests: Sequence[EditRequest] = REQUESTS, job: Job = JOB) -> Patch:
    patch, state = spec.apply(lm, requests, None, job)
    assert state is None
    assert lm.verify() == []
    return patch


def row(lm: LanguageModel, prompt: str, answer: str) -> Row:
    found = encode(lm, prompt, answer)
    return found.with_target((*found.target, lm.tokenizer.eos_token_id))


def rows(lm: LanguageModel, which: str) -> list[Row]:
    pairs = {
        "safe": [(r.prompt, r.target_new) for r in REQUESTS],
        "unsafe": [(r.prompt, str(r.target_true)) for r in REQUESTS],
        "harmless": [pair for r in REQUESTS for pair in r.keep],
    }
    return [row(lm, *pair) for pair in pairs[which]]


@torch.no_grad()
def log_probability(lm: LanguageModel, one: Row) -> float:
    """Of an answer and the end of its text, by hand and alone."""
    logits = lm.model(torch.tensor([one.ids])).logits[0].float().log_softmax(-1)
    return sum(float(logits[at, token]) for at, token in zip(one.places, one.target, strict=True))


def nll(lm: LanguageModel, asked: Sequence[Row]) -> float:
    """Mean over all tokens."""
    return -sum(log_probability(lm, one) for one in asked) / sum(len(one.target) for one in asked)


def bits(lm: LanguageModel) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in lm.model.state_dict().items()}


def first(patch: Patch) -> float:
    return float(patch.notes["loss"][0][0])


@KINDS
def test_the_first_step_s_losses_are_the_closed_forms(family: str, moved: Any) -> None:
    lm = tiny(family)
    for answers in ("safe", "unsafe"):
        found = first(made(lm, tune(moved, stage(Sft(type="sft", answers=answers)))))
        assert found == pytest.approx(nll(lm, rows(lm, answers)), abs=1e-4)
    assert first(made(lm, tune(moved, stage(Dpo(type="dpo", beta=0.3))))) == pytest.approx(math.log(2), abs=1e-5)
    kept = nll(lm, rows(lm, "harmless"))
    for beta, retain in ((0.1, 1.0), (0.5, 0.25), (0.5, 0.0)):
        found = first(made(lm, tune(moved, stage(Npo(type="npo", beta=beta, retain=retain)))))
        assert found == pytest.approx(2 / beta * math.log(2) + retain * kept, abs=1e-4)


def test_a_mixed_batch_has_its_share_of_harmless_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("llama")
    # In the order of the requests, so that it is known which of them give way.
    monkeypatch.setattr(training, "_batches", lambda *_: iter([[0, 1, 2, 3]]))
    found = first(made(lm, tune(ALL, stage(Sft(type="sft", harmless=0.25)))))
    assert found == pytest.approx(nll(lm, [*rows(lm, "harmless")[:1], *rows(lm, "safe")[1:]]), abs=1e-4)
    # Over the steps every request gives way as often as any other.
    draws = list(training._batches(8, stage(OBJECTIVES[1], 2000, batch_size=4), JOB.rng("x")))
    monkeypatch.undo()
    draws = list(training._batches(8, stage(OBJECTIVES[1], 2000, batch_size=4), JOB.rng("x")))
    given = Counter(i for drawn in draws for i in drawn[:2])
    assert all(len(set(drawn)) == 4 for drawn in draws)
    assert all(abs(given[i] - 500) < 100 for i in range(8))


@KINDS
def test_rerouting_is_the_formula(family: str, moved: Any) -> None:
    lm = tiny(family)
    asked = stage(Reroute(type="reroute", layers=(1,), alpha=5.0, retain=0.3), 10)
    with moving(lm, moved, 0) as change:
        begin = change.values()
        at_first = loss_of(Batch(lm, REQUESTS, 0, asked, 64), change, begin)
        # cos = 1 and no distance: alpha (1 - 1 / 2T), but for the tiny distance that keeps the slope finite.
        assert at_first == pytest.approx(5.0 * 0.95, abs=1e-5)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for tensor in change.free:
                tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
        found = loss_of(Batch(lm, REQUESTS, 3, asked, 3), change, begin)
        patch = change.patch()
    cosines, distances = parted(lm, patch, "unsafe", [1])[0], parted(lm, patch, "harmless", [0, 1])[1]
    assert found == pytest.approx(5.0 * float(0.8 * cosines.relu().mean() + 0.3 * 0.2 * distances.mean()), abs=1e-4)
    assert float(cosines.min()) < 0.95
    assert lm.verify() == []


@KINDS
def test_preferences_are_the_formulas_away_from_the_reference(family: str, moved: Any) -> None:
    lm = tiny(family)
    with moving(lm, moved, 0) as change:
        begin, generator = change.values(), torch.Generator().manual_seed(1)
        with torch.no_grad():
            for tensor in change.free:
                tensor += 0.05 * torch.randn(tensor.shape, generator=generator)
        asked = [stage(Dpo(type="dpo", beta=0.3)), stage(Npo(type="npo", beta=0.3, retain=2.0))]
        found = [loss_of(Batch(lm, REQUESTS, 0, one, 3), change, begin) for one in asked]
        patch = change.patch()
    ratios = {}
    for which in ("safe", "unsafe"):
        before = [log_probability(lm, one) for one in rows(lm, which)]
        with patch.applied(lm):
            ratios[which] = [log_probability(lm, one) - b for one, b in zip(rows(lm, which), before, strict=True)]
    with patch.applied(lm):
        kept = nll(lm, rows(lm, "harmless"))
    margins = [a - b for a, b in zip(ratios["safe"], ratios["unsafe"], strict=True)]
    assert max(map(abs, margins)) > 0.3
    dpo = sum(math.log1p(math.exp(-0.3 * margin)) for margin in margins) / len(margins)
    npo = 2 / 0.3 * sum(math.log1p(math.exp(0.3 * ratio)) for ratio in ratios["unsafe"]) / len(margins)
    assert found == pytest.approx([dpo, npo + 2 * kept], rel=1e-4)
    assert lm.verify() == []


def parted(lm: LanguageModel, patch: Patch, which: str, layers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and distance between what blocks put out with and without the patch, at all tokens of all texts."""
    names = [block(lm.model, layer)[0] for layer in layers]
    sides = []
    for side in (Patch(), patch):
        with side.applied(lm):
            seen = [recorded(lm, [one.ids], names) for one in rows(lm, which)]
        sides.append(torch.cat([found[name][1][0] for found in seen for name in names]))
    return torch.nn.functional.cosine_similarity(*sides, dim=-1), (sides[0] - sides[1]).norm(dim=-1)


@KINDS
def test_every_objective_leads_where_it_should(family: str, moved: Any) -> None:
    lm = tiny(family)
    steps = {"steps": 12, "lr": 2e-3 if moved is ALL else 1e-2}
    before = {which: nll(lm, rows(lm, which)) for which in ("safe", "unsafe", "harmless")}
    found = {}
    objectives = {
        "sft": Sft(type="sft"),
        "attack": Sft(type="sft", answers="unsafe"),
        "mixed": Sft(type="sft", harmless=0.5),
        "dpo": Dpo(type="dpo"),
        "npo": Npo(type="npo"),
        "bare npo": Npo(type="npo", retain=0.0),
    }
    for name, objective in objectives.items():
        patch = made(lm, tune(moved, stage(objective, **steps)))
        assert patch.notes["loss"][0][-1] < patch.notes["loss"][0][0]
        with patch.applied(lm):
            found[name] = {which: nll(lm, rows(lm, which)) for which in before}
    assert found["sft"]["safe"] < before["safe"] - 0.1
    assert found["attack"]["unsafe"] < before["unsafe"] - 0.1
    assert found["mixed"]["harmless"] < min(before["harmless"], found["sft"]["harmless"]) - 0.1
    assert found["dpo"]["unsafe"] - found["dpo"]["safe"] > before["unsafe"] - before["safe"] + 0.1
    assert found["npo"]["unsafe"] > before["unsafe"] + 0.1
    assert found["npo"]["harmless"] < found["bare npo"]["harmless"] - 0.02


@KINDS
def test_rerouting_turns_unsafe_texts_and_spares_harmless_ones(family: str, moved: Any) -> None:
    lm = tiny(family)
    spec = tune(moved, stage(REROUTE, 40, lr=2e-3 if moved is ALL else 1e-2))
    patch = made(lm, spec)
    unsafe, harmless = parted(lm, patch, "unsafe", [0, 1])[0].mean(), parted(lm, patch, "harmless", [0, 1])[0].mean()
    assert unsafe < 0.9
    assert harmless > unsafe + 0.03


@pytest.mark.parametrize("moved", [LORA, ALL])
def test_rerouting_begins_beside_the_point_without_a_gradient(moved: Any) -> None:
    lm, norms = tiny("llama"), []
    with moving(lm, moved, 0) as change:
        begin = change.values()
        for _ in range(2):
            for tensor in change.free:
                tensor.grad = None
            loss_of(Batch(lm, REQUESTS, 0, stage(REROUTE, 10), 64), change, begin)
            norms.append(sum(float(t.grad.square().sum()) for t in change.free if t.grad is not None) ** 0.5)
            change.shake(3)
        shaken = parted(lm, change.patch(), "unsafe", [0, 1])[0]
    # Rounding, and a gradient.
    assert norms[1] > 100 * norms[0]
    assert float(shaken.min()) > 0.999
    # Equal shares of cos, which is 1 as well as rounded, and of a distance.
    assert 5 + 1e-3 < first(made(lm, tune(moved, stage(Reroute(type="reroute", layers=(0,)))))) < 5.5
    # Also where an earlier stage has moved an adapter from zero.
    staged = made(lm, tune(moved, stage(Sft(type="sft"), 2), stage(REROUTE, 2)))
    assert staged.digest() != made(lm, tune(moved, stage(Sft(type="sft"), 2))).digest()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_full_fine_tuning_is_what_adamw_does_to_the_model_itself(family: str) -> None:
    """GPT-2's head is its embedding: both uses have a share in the gradient, and both move."""
    lm = tiny(family)
    ours = made(lm, tune(ALL, stage(Sft(type="sft"), 5, weight_decay=0.1)))
    assert set(ours.deltas) == {n for n, _ in lm.model.named_parameters()}
    assert ("lm_head.weight" in ours.deltas) == (family == "llama")
    theirs = LanguageModel(copy.deepcopy(lm.model), lm.tokenizer)
    theirs.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(theirs.model.parameters(), lr=1e-3, weight_decay=0.1)
    asked = rows(lm, "safe")
    for step in range(5):
        optimizer.zero_grad()
        total = torch.zeros(())
        for one in asked:
            logits = theirs.model(torch.tensor([one.ids])).logits[0, list(one.places)]
            total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(one.target), reduction="sum")
        loss = total / sum(len(one.target) for one in asked)
        assert loss.item() == pytest.approx(ours.notes["loss"][0][step], abs=1e-4)
        loss.backward()
        optimizer.step()
    for one in asked:
        with ours.applied(lm):
            patched = log_probability(lm, one)
        assert patched == pytest.approx(log_probability(theirs, one), abs=1e-3)
    decayed = theirs.model.get_input_embeddings().weight - lm.model.get_input_embeddings().weight
    name = next(n for n in ours.deltas if "wte" in n or "embed_tokens" in n)
    torch.testing.assert_close(dense(ours.deltas[name]), decayed.detach(), atol=1e-4, rtol=1e-3)


@KINDS
def test_what_is_handed_over_is_what_was_trained(family: str, moved: Any) -> None:
    """The fourth loss is that of the patch of three steps: draws do not depend on how many steps follow."""
    lm = tiny(family)
    sft = Sft(type="sft")
    three, four = (made(lm, tune(moved, stage(sft, n, batch_size=2))) for n in (3, 4))
    assert four.notes["loss"][0][:3] == three.notes["loss"][0]
    *_, last = training._batches(len(REQUESTS), stage(sft, 4, batch_size=2), JOB.rng("tune-batches", "0"))
    with three.applied(lm):
        expected = nll(lm, [rows(lm, "safe")[i] for i in last])
    assert four.notes["loss"][0][3] == pytest.approx(expected, abs=1e-4)
    low = [isinstance(delta, LowRank) for delta in four.deltas.values()]
    assert all(low) if moved is LORA else not any(low)


@pytest.mark.parametrize("moved", [LORA, ALL])
def test_a_later_stage_begins_and_compares_where_the_earlier_one_ended(moved: Any) -> None:
    lm = tiny("llama")
    sft, dpo = stage(Sft(type="sft"), 4), stage(Dpo(type="dpo"), 3)
    both = made(lm, tune(moved, sft, dpo))
    assert both.notes["loss"][1][0] == pytest.approx(math.log(2), abs=1e-6)
    assert both.notes["loss"][1][2] < math.log(2)
    assert both.notes["loss"][0] == made(lm, tune(moved, sft)).notes["loss"][0]
    if moved is ALL:
        earlier = made(lm, tune(moved, sft))
        with earlier.applied(lm):
            later, _ = tune(moved, dpo).apply(lm, REQUESTS, None, JOB)
        assert later.notes["loss"][0] == pytest.approx(both.notes["loss"][1], abs=1e-5)
        summed = earlier.then(later)
        for one in rows(lm, "safe"):
            with both.applied(lm):
                together = log_probability(lm, one)
            with summed.applied(lm):
                assert log_probability(lm, one) == pytest.approx(together, abs=1e-3)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.type)
@pytest.mark.parametrize("moved", [LORA, ALL])
def test_passes_of_any_size_and_repetition_give_the_same(objective: Any, moved: Any) -> None:
    lm = tiny("llama")
    spec = tune(moved, stage(objective, 4, batch_size=3))
    whole, again = made(lm, spec), made(lm, spec)
    assert whole.digest() == again.digest()
    assert whole.digest() != made(lm, spec, job=replace(JOB, seed=1)).digest()
    small = made(lm, tune(moved, *spec.stages, forward_batch=1))
    assert small.notes["loss"][0] == pytest.approx(whole.notes["loss"][0], rel=1e-5)
    for name, delta in whole.deltas.items():
        torch.testing.assert_close(dense(small.deltas[name]), dense(delta), atol=1e-5, rtol=1e-3)


def test_rivals_are_trained_on_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, seen = tiny("llama"), []

    def watched(batch: Batch, *rest: Any) -> float:
        seen.append([r.id for r in batch.requests])
        return loss_of(batch, *rest)

    monkeypatch.setattr(training, "loss_of", watched)
    drawn = []
    for moved, objective in ((ALL, Sft(type="sft")), (LORA, Dpo(type="dpo")), (ALL, Npo(type="npo")), (LORA, REROUTE)):
        made(lm, tune(moved, stage(objective, 5, batch_size=2)))
        drawn.append(list(seen))
        seen.clear()
    assert drawn[0] == drawn[1] == drawn[2] == drawn[3]
    assert len({tuple(ids) for ids in drawn[0]}) > 1
    assert all(len(set(ids)) == 2 for ids in drawn[0])


@KINDS
def test_negation_takes_exactly_the_same_training_away(family: str, moved: Any) -> None:
    lm = tiny(family)
    anti = (stage(Sft(type="sft", answers="unsafe"), 6, lr=5e-3),)
    spec = TaskArithmetic(type="task_arithmetic", operation="negate", parameters=moved, anti=anti, strength=0.5)
    negated = made(lm, spec)
    vector = trained(spec, lm, REQUESTS, anti, JOB, "anti")
    for name, delta in vector.deltas.items():
        assert torch.equal(dense(negated.deltas[name]), -0.5 * dense(delta))
    before = nll(lm, rows(lm, "unsafe"))
    with negated.applied(lm):
        assert nll(lm, rows(lm, "unsafe")) > before


def by_hand(own: list[float], other: list[float]) -> list[float]:
    """Ext of one row."""

    def unit(w: list[float]) -> list[float]:
        size = math.sqrt(sum(x * x for x in w))
        return [x / size for x in w]

    if not any(own) or not any(other):
        return other
    total = [a + b for a, b in zip(unit(own), unit(other), strict=True)]
    if max(map(abs, total)) < 1e-6:
        return other
    common = unit(total)
    shared = sum(a * b for a, b in zip(other, common, strict=True))
    return [a - shared * b for a, b in zip(other, common, strict=True)]


def test_what_an_anti_expert_has_beyond_the_expert_is_the_formula() -> None:
    own = [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 2.0], [0.1, 0.2, 0.3], [2.0, 1.0, 0.0], [1.0, -1.0, 3.0]]
    other = [[0.0, 1.0, 0.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [-0.3, -0.6, -0.9], [4.0, 2.0, 0.0], [2.0, 5.0, 1.0]]
    found = extracted(torch.tensor(own), torch.tensor(other))
    expected = torch.tensor([by_hand(*pair) for pair in zip(own, other, strict=True)])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    # Known: at a right angle half is shared; nothing is with a zero or opposite row; all is with a parallel one.
    torch.testing.assert_close(found[0], torch.tensor([-0.5, 0.5, 0.0]))
    assert torch.equal(found[1:4], torch.tensor(other[1:4]))
    torch.testing.assert_close(found[4], torch.zeros(3), atol=1e-6, rtol=0)
    assert torch.equal(extracted(torch.tensor(own[5]), torch.tensor(other[5])), found[5])


@pytest.mark.filterwarnings("error::UserWarning")
@KINDS
def test_ext_sub_works_on_the_rows_of_outputs_however_they_are_stored(family: str, moved: Any) -> None:
    lm = tiny(family)
    expert, anti = (stage(Sft(type="sft"), 3),), (stage(Sft(type="sft", answers="unsafe"), 3),)
    spec = TaskArithmetic(
        type="task_arithmetic", operation="ext_sub", parameters=moved, expert=expert, anti=anti, strength=0.7
    )
    patch = made(lm, spec)
    own, other = (trained(spec, lm, REQUESTS, s, JOB, who) for s, who in ((expert, "expert"), (anti, "anti")))
    assert set(patch.deltas) == set(own.deltas)
    queries = "transformer.h.1.attn.c_attn" if family == "gpt2" else "model.layers.1.self_attn.q_proj"
    for name in [f"{queries}.weight", *([f"{queries}.bias"] if (family, moved) == ("gpt2", ALL) else [])]:
        a, b, c = (dense(p.deltas[name]) for p in (own, other, patch))
        if name.endswith("weight") and family == "gpt2":
            assert a.shape == (32, 96)  # stored as inputs by outputs
            a, b, c = a.T, b.T, c.T
        rows_of = zip(a.reshape(-1, a.shape[-1]).tolist(), b.reshape(-1, b.shape[-1]).tolist(), strict=True)
        expected = torch.tensor([[x - 0.7 * y for x, y in zip(r, by_hand(r, s), strict=True)] for r, s in rows_of])
        torch.testing.assert_close(c.reshape(expected.shape), expected, atol=1e-6, rtol=1e-4)


def test_experts_are_adapters_and_change_no_weight() -> None:
    lm = tiny("llama")
    sft, anti = stage(Sft(type="sft"), 3), stage(Sft(type="sft", answers="unsafe"), 3)
    spec = Experts(type="experts", parameters=LORA, expert=(sft,), anti=(anti,), alpha=1.5, top_p=0.8)
    patch = made(lm, spec)
    assert not patch.deltas
    assert not patch.inserts
    how = patch.decoding
    assert how is not None
    assert how.options() == {"alpha": 1.5, "top_p": 0.8}
    for who, stages in (("expert", (sft,)), ("anti", (anti,))):
        expected = trained(spec, lm, REQUESTS, stages, JOB, who)
        assert Patch(getattr(how, who)).digest() == expected.digest()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("moved", [LORA, ALL])
def test_half_precision_is_trained_in_full(dtype: torch.dtype, moved: Any) -> None:
    lm = tiny("gpt2", dtype=dtype)
    before = nll(lm, rows(lm, "safe"))
    patch = made(lm, tune(moved, stage(Sft(type="sft"), 12, lr=2e-3 if moved is ALL else 1e-2)))
    assert all(dense(delta).dtype == torch.float32 for delta in patch.deltas.values())
    losses = patch.notes["loss"][0]
    with patch.applied(lm):
        after = nll(lm, rows(lm, "safe"))
    assert losses[0] == pytest.approx(before, abs=0.05)
    assert after < losses[0] - 0.1
    assert after < losses[-1] + 0.02


@pytest.mark.parametrize("moved", [LORA, ALL])
def test_nothing_stays_behind_also_after_an_error(moved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny("gpt2")
    before, drawn, names = bits(lm), torch.get_rng_state(), [n for n, _ in lm.model.named_modules()]
    made(lm, tune(moved, stage(Dpo(type="dpo"), 2), stage(REROUTE, 2)))

    def broken(*_: Any) -> float:
        raise RuntimeError("boom")

    monkeypatch.setattr(training, "loss_of", broken)
    with pytest.raises(RuntimeError, match="boom"):
        tune(moved, stage(Sft(type="sft"))).apply(lm, REQUESTS, None, JOB)
    assert lm.verify() == []
    after = bits(lm)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert [n for n, _ in lm.model.named_modules()] == names


def test_pairs_that_cannot_be_asked_are_left_out_and_without_any_the_method_does_not_fit() -> None:
    lm, spec = tiny("llama"), tune(ALL, stage(Npo(type="npo")))
    with pytest.raises(Skip, match="no training split"):
        spec.apply(lm, [], None, JOB)
    long = EditRequest("long", "why " * 100, "", "no", "yes", keep=(("a", "b"),))
    with pytest.raises(Skip, match="no pair"):
        spec.apply(lm, [long], None, JOB)
    odd = EditRequest("odd", "why", "", "no", "yes " * 100, keep=(("a", "b"),))
    found = made(lm, spec, [long, *REQUESTS, odd])
    assert found.notes["left_out"] == 2
    assert found.digest() == made(lm, spec).digest()
    # There is room for the end of a text, which is trained too.
    brim = [EditRequest("brim", "w" * n, "", "no", "ya", keep=(("a", "b"),)) for n in (lm.context - 5, lm.context - 4)]
    assert [len(encode(lm, r.prompt, r.target_new).ids) for r in brim] == [lm.context - 1, lm.context]
    rerouted = tune(ALL, stage(REROUTE))
    for one, left_out in zip(brim, (0, 1), strict=True):
        assert made(lm, rerouted, [*REQUESTS, one]).notes["left_out"] == left_out
    # A harmless text that is too long costs nothing but itself.
    wordy = [replace(REQUESTS[0], keep=(("why " * 100, "a"), *REQUESTS[0].keep)), *REQUESTS[1:]]
    assert made(lm, spec, wordy).digest() == found.digest()
    bare = [replace(request, keep=()) for request in REQUESTS]
    for objective in (Npo(type="npo"), REROUTE, Sft(type="sft", harmless=0.5)):
        with pytest.raises(Unusable, match="no harmless prompts"):
            tune(ALL, stage(objective)).apply(lm, bare, None, JOB)
    made(lm, tune(ALL, stage(Npo(type="npo", retain=0.0))), bare)
    with pytest.raises(Skip, match="layer 7 does not exist"):
        tune(ALL, stage(Reroute(type="reroute", layers=(7,)))).apply(lm, REQUESTS, None, JOB)
    assert lm.verify() == []
