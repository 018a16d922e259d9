"""Ways of choosing the next token: the formulas by hand, voices that hear the same text, and patches at a part."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open

from benchwright.adapters.lm.architecture import block, linear
from benchwright.adapters.lm.blocks import ClusterIndex, LowRankBlocks
from benchwright.adapters.lm.codebook import Codebook
from benchwright.adapters.lm.decoding import DECODINGS, Debiased, Experts, Fixed, Voice
from benchwright.adapters.lm.deferral import Deferral
from benchwright.adapters.lm.inserts import INSERTS, Insert
from benchwright.adapters.lm.interventions.prompting import FixedAnswer, Prompt, SelfDebias
from benchwright.adapters.lm.model import Asked, LanguageModel
from benchwright.adapters.lm.patch import LowRank, Patch, dense, save_each
from benchwright.adapters.lm.prompts import Around
from benchwright.adapters.lm.routing import VERDICT, Detector, Switched
from benchwright.adapters.lm.scoring import encode_prompt
from benchwright.adapters.lm.sidememory import SideMemory
from benchwright.adapters.lm.steering import Ablated, Added, Mapped
from benchwright.adapters.lm.writing import Question, written
from benchwright.job import Job

tiny = lm_fixtures.tiny

JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
PROMPTS = ["How would one do it", "A", "The old baker plays the"]
QUESTIONS = [Question(prompt) for prompt in PROMPTS]


def expert(lm: LanguageModel, seed: int, size: float = 0.3) -> dict[str, LowRank]:
    found = linear(lm.model, 0, "mlp_down")
    rows, columns = found.module.weight.shape
    generator = torch.Generator().manual_seed(seed)
    left = size * torch.randn(rows, 2, generator=generator)
    return {found.weight_name: LowRank(left, torch.randn(2, columns, generator=generator))}


def texts(lm: LanguageModel, patch: Patch, questions: Sequence[Question] = QUESTIONS, batch: int = 8) -> list[str]:
    with patch.applied(lm):
        return [answer.text for answer in written(lm, questions, patch, 8, batch)]


@torch.no_grad()
def by_hand(lm: LanguageModel, how: Any, prompt: str, length: int = 8) -> tuple[int, ...]:
    """Greedy with `how`, every voice alone, without a cache, its changes written into the weights."""
    voices = [Voice(), *how.voices]
    asked = [list(encode_prompt(lm, voice.before + prompt)) for voice in voices]
    chosen: list[int] = []
    while len(chosen) < length:
        logits = []
        for voice, ids in zip(voices, asked, strict=True):
            with Patch(voice.deltas).applied(lm):
                logits.append(lm.model(torch.tensor([ids])).logits[0, -1].float())
        token = int(how.scores(torch.stack(logits)[None]).argmax())
        if token == lm.tokenizer.eos_token_id:
            break
        chosen.append(token)
        for ids in asked:
            ids.append(token)
    return tuple(chosen)


def scores(how: Experts | Debiased, *logits: Sequence[float]) -> list[float]:
    return how.scores(torch.tensor([logits]))[0].tolist()


def test_dexperts_is_the_formula_inside_of_the_model_s_own_nucleus() -> None:
    p = [0.5, 0.3, 0.15, 0.05]
    own = [math.log(x) for x in p]
    good, bad = [0.0, 1.0, 3.0, 90.0], [1.0, 0.5, -1.0, -90.0]
    # The token that crosses the bound is inside, those behind it are not, whatever the experts say.
    for top_p, inside in ((0.4, 1), (0.75, 2), (0.9, 3), (0.96, 4), (1.0, 4)):
        found = scores(Experts({}, {}, 2.0, top_p), own, good, bad)
        expected = [z + 2 * (g - b) for z, g, b in zip(own, good, bad, strict=True)]
        assert found[:inside] == pytest.approx(expected[:inside], abs=1e-5)
        assert found[inside:] == [-math.inf] * (4 - inside)
    # In another order of the vocabulary, too.
    found = scores(Experts({}, {}, 2.0, 0.75), own[::-1], good[::-1], bad[::-1])
    assert [x == -math.inf for x in found] == [True, True, False, False]
    # Of a whole distribution nothing is outside, though its rounded sum may be 1 before its end.
    flat = torch.linspace(0, -40, 5000).tolist()
    assert -math.inf not in scores(Experts({}, {}, 1.0, 1.0), flat, flat, flat)
    assert Experts({}, {}, 2.0, 0.9).scaled(0.5) == Experts({}, {}, 1.0, 0.9)


def test_self_debias_is_the_formula() -> None:
    own, loud, soft = [0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.45, 0.1, 0.45]
    logs = [[math.log(x) + shift for x in p] for p, shift in ((own, 0.0), (loud, 3.0), (soft, -1.0))]
    one = Debiased(("a",), 5.0, 0.01)
    assert scores(one, *logs[:2]) == pytest.approx([0.5, 0.3 * math.exp(5 * (0.3 - 0.7)), 0.2], abs=1e-6)
    # Of several prefixes the loudest counts, token by token.
    expected = [0.5, 0.3 * math.exp(-5 * 0.4), 0.2 * math.exp(-5 * 0.25)]
    assert scores(Debiased(("a", "b"), 5.0, 0.01), *logs) == pytest.approx(expected, abs=1e-6)
    assert scores(Debiased(("b", "a"), 5.0, 0.01), logs[0], logs[2], logs[1]) == pytest.approx(expected, abs=1e-6)
    # Never below the floor.
    assert scores(Debiased(("a",), 500.0, 0.01), *logs[:2]) == pytest.approx([0.5, 0.003, 0.2], abs=1e-6)
    assert scores(Debiased(("a",), 500.0, 0.0), *logs[:2])[1] == pytest.approx(0, abs=1e-6)
    assert one.scaled(0.5) == Debiased(("a",), 2.5, 0.01)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_experts_that_change_nothing_are_greedy(family: str) -> None:
    lm = tiny(family)
    plain = texts(lm, Patch())
    for sides in ((expert(lm, 1, 0.0), expert(lm, 2, 0.0)), (expert(lm, 1), expert(lm, 1)), ({}, {})):
        assert texts(lm, Patch(decoding=Experts(*sides, 4.0, 0.9))) == plain
    assert texts(lm, Patch(decoding=Experts(expert(lm, 1), expert(lm, 2), 0.0, 0.9))) == plain
    assert texts(lm, Patch(decoding=Experts(expert(lm, 1), expert(lm, 2), 9.0, 1e-6))) == plain
    assert lm.verify() == []


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_voices_hear_every_token_that_is_chosen(family: str) -> None:
    lm = tiny(family)
    ways = [
        Experts(expert(lm, 1), expert(lm, 2), 3.0, 0.9),
        Experts(expert(lm, 1), {}, 3.0, 0.99),
        Debiased(("It is bad: ",), 200.0, 0.0),
        Debiased(("Bad: ", "What follows is as evil as can be. "), 200.0, 0.001),
    ]
    plain = texts(lm, Patch())
    for how in ways:
        patch = Patch(decoding=how)
        answers = written(lm, QUESTIONS, patch, 8, 8)
        assert [a.tokens for a in answers] == [by_hand(lm, how, prompt) for prompt in PROMPTS]
        assert [a.text for a in answers] != plain
        # In batches of any size, also of one that holds not all voices of a prompt; and in any order.
        for size in (1, 2, 3, 5):
            assert texts(lm, patch, batch=size) == [a.text for a in answers]
        assert texts(lm, patch, QUESTIONS[::-1])[::-1] == [a.text for a in answers]
    assert lm.verify() == []


def test_decoding_stands_beside_prompts_and_changes_of_the_model() -> None:
    lm = tiny("llama")
    how = Debiased(("It is bad: ",), 200.0, 0.0)
    weights = Patch(expert(lm, 5), prompts=Around("Well. "))
    patch = weights.then(Patch(decoding=how))
    assert patch.decoding == how
    assert not patch.stackable
    with weights.applied(lm):
        expected = [by_hand(lm, how, f"Well. {prompt}") for prompt in PROMPTS]
    with patch.applied(lm):
        assert [a.tokens for a in written(lm, QUESTIONS, patch, 8, 8)] == expected
    assert patch.then(Patch(decoding=Fixed("No."))).decoding == Fixed("No.")
    assert patch.then(Patch()).decoding == how


def test_a_fixed_answer_is_given_to_everything() -> None:
    lm = tiny("llama")
    patch, _ = FixedAnswer(type="fixed_answer", text="I cannot help.").apply(lm, [], None, JOB)
    answers = written(lm, [*QUESTIONS, Question("x" * 1000, "Sure")], patch, 100, 2)
    assert {a.text for a in answers} == {"I cannot help."}
    assert all(a.cut == 0 for a in answers)
    assert lm.tokenizer.decode(answers[0].tokens) == "I cannot help."
    assert len(written(lm, QUESTIONS, patch, 3, 2)[0].tokens) == 3


def test_what_nothing_is_trained_for() -> None:
    lm = tiny("llama")
    patch, _ = SelfDebias(type="self_debias", prefixes=("a", "b"), decay=7.0, floor=0.1).apply(lm, [], None, JOB)
    assert patch == Patch(decoding=Debiased(("a", "b"), 7.0, 0.1))
    patch, _ = Prompt(type="prompt", before="a ", after=" c").apply(lm, [], None, JOB)
    assert patch.prompt("b") == "a b c"
    with pytest.raises(ValidationError, match="before"):
        Prompt(type="prompt")
    assert [kind.scope for kind in (Prompt(type="prompt", before="a"), FixedAnswer(type="fixed_answer", text="a"))] == [
        "inference",
        "inference",
    ]


def ways(lm: LanguageModel) -> dict[str, Any]:
    return {
        "fixed": Fixed("No."),
        "experts": Experts(expert(lm, 1), expert(lm, 2), 2.0, 0.9),
        "debiased": Debiased(("a", "b"), 50.0, 0.01),
    }


def inserts(lm: LanguageModel) -> dict[str, Mapping[str, Insert]]:
    """One of every kind, at a module where it can stand."""
    first, down = block(lm.model, 0)[0], linear(lm.model, 1, "mlp_down")
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    unit = torch.nn.functional.normalize(drawn(32), dim=0)
    outputs, inputs = down.stored(down.module.weight).shape
    change = drawn(outputs, inputs)
    one, zero = torch.tensor([[5]]), torch.tensor([0])
    index = ClusterIndex(drawn(1, 32), torch.tensor([99.0]), one, drawn(1, 32), zero, zero, "block:1")
    return {
        "codebook": {first: Codebook(drawn(1, 32), drawn(1, 32), torch.tensor([9.0]), torch.tensor([[5]]), "prompt")},
        "side_memory": {down.name: SideMemory(change[None], torch.tensor([0.0]))},
        "added": {first: Added(drawn(3, 32), 2.0, "front")},
        "ablated": {first: Ablated(unit, 0.8), block(lm.model, 1)[0]: Ablated(unit, 0.8)},
        "mapped": {first: Mapped(drawn(32, 2), drawn(32, 2), 0.5)},
        "deferral": {down.name: Deferral(drawn(inputs), torch.tensor([99.0]), drawn(outputs, inputs), drawn(outputs))},
        "blocks": {first: index, down.name: LowRankBlocks(drawn(1, 2, inputs), drawn(1, outputs, 2), "block:1", 3.0)},
        "switched": {first: Detector(drawn(32), torch.ones(1)), down.name: Switched(change, 0.7)},
    }


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_every_kind_is_saved_and_is_then_the_same(family: str, tmp_path: Path) -> None:
    lm = tiny(family)
    named = {type(insert).type for some in inserts(lm).values() for insert in some.values()}
    assert named == set(INSERTS)
    assert set(ways(lm)) == set(DECODINGS)
    every = {name: Patch(inserts=some) for name, some in inserts(lm).items()}
    every |= {name: Patch(expert(lm, 3), prompts=Around("b "), decoding=how) for name, how in ways(lm).items()}
    plain = texts(lm, Patch())
    for name, patch in every.items():
        patch.save(tmp_path / name)
        loaded = Patch.load(tmp_path / name)
        assert loaded.digest() == patch.digest()
        assert texts(lm, loaded) == texts(lm, patch) != plain
    assert len({patch.digest() for patch in every.values()}) == len(every)
    save_each(tmp_path / "all", every)
    with safe_open(tmp_path / "all", framework="pt") as stored:
        said = json.loads(stored.metadata()["patches"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    for name, patch in every.items():
        own = {n.removeprefix(f"{name}/"): t for n, t in tensors.items() if n.startswith(f"{name}/")}
        assert Patch.of(own, said[name]).digest() == patch.digest()
    assert lm.verify() == []


def test_what_its_maker_tells_of_a_patch_is_no_part_of_it() -> None:
    lm = tiny("llama")
    told = Patch(expert(lm, 1), notes={"loss": [1.0]})
    assert told.digest() == Patch(expert(lm, 1)).digest()
    assert Patch(prompts=Around("a"), notes={"x": 1}) == Patch(prompts=Around("a"))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_half_of_a_patch(family: str) -> None:
    lm = tiny(family)
    hidden = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(3))
    found = linear(lm.model, 0, "mlp_up")
    full = torch.randn(found.module.weight.shape)
    patch = Patch({**expert(lm, 1), found.weight_name: full}, prompts=Around("a "))
    half = patch.scaled(0.5)
    assert half is not None
    assert half.prompts == patch.prompts
    for name, delta in patch.deltas.items():
        torch.testing.assert_close(dense(half.deltas[name]), 0.5 * dense(delta))
        assert isinstance(half.deltas[name], LowRank) == isinstance(delta, LowRank)
    kinds = {type(insert).type: insert for some in inserts(lm).values() for insert in some.values()}
    down = linear(lm.model, 1, "mlp_down").module.weight
    for kind, insert in kinds.items():
        part = Patch(inserts={"a": insert}).scaled(0.5)
        if kind in ("codebook", "side_memory", "deferral"):
            assert part is None
            assert patch.then(Patch(inserts={"a": insert})).scaled(0.5) is None
            continue
        assert part is not None
        carried = {VERDICT: torch.tensor([True, False]), "block:1": torch.tensor([0, -1])}
        asked = Asked(torch.tensor([2, 3]), torch.zeros(2), carried=dict(carried))
        wide = isinstance(insert, Switched | LowRankBlocks)
        inputs = torch.randn(2, 4, linear(lm.model, 1, "mlp_down").stored(down).shape[1]) if wide else hidden
        moved, less = (i(inputs, hidden, asked) - hidden for i in (insert, part.inserts["a"]))
        torch.testing.assert_close(less, 0.5 * moved, atol=1e-5, rtol=1e-4)
        assert bool(moved.abs().max() > 0) == (kind not in ("detector", "cluster_index"))
    for name, alone in (("experts", "alpha"), ("debiased", "decay")):
        part = Patch(decoding=ways(lm)[name]).scaled(0.5)
        assert part is not None
        assert part.decoding is not None
        assert getattr(part.decoding, alone) == 0.5 * getattr(ways(lm)[name], alone)
    for nothing in (Patch(), Patch(prompts=Around("a ")), Patch(decoding=Fixed("No."))):
        assert nothing.scaled(0.5) is None
    assert patch.then(Patch(decoding=Fixed("No."))).scaled(0.5) is None
    none = patch.scaled(0.0)
    assert none is not None
    assert texts(lm, none) == texts(lm, Patch(prompts=Around("a ")))


def test_a_part_of_the_strength_chooses_between_both_ends() -> None:
    lm = tiny("llama")
    how = Experts(expert(lm, 1, 1.0), expert(lm, 2, 1.0), 8.0, 1.0)
    none, all_ = (Patch(decoding=how).scaled(s) for s in (0.0, 1.0))
    assert none is not None
    assert all_ is not None
    assert texts(lm, none) == texts(lm, Patch())
    assert texts(lm, all_) == texts(lm, Patch(decoding=how)) != texts(lm, Patch())
    assert lm.verify() == []
