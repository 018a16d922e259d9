"""ToxEdit: harmful prompts are answered by another value matrix, all others by the very same model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch

from benchwright.adapters.detox.sources.params import ForbiddenCases
from benchwright.adapters.lm.architecture import block, blocks, linear
from benchwright.adapters.lm.forward import logits_at, recorded
from benchwright.adapters.lm.generation import greedy
from benchwright.adapters.lm.interventions.tox_edit import ToxEdit
from benchwright.adapters.lm.interventions.tox_edit.routed import _machine
from benchwright.adapters.lm.model import Asked, LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.routing import VERDICT, Detector, Switched
from benchwright.adapters.lm.scoring import Row, encode, encode_prompt, forced
from benchwright.adapters.lm.writing import Question, written
from benchwright.adapters.worlds.params import World
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import Skip
from benchwright.job import Job

tiny = lm_fixtures.tiny

JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
STORED = ("gpt2", "llama", "opt")
"""A transposed weight, one without bias, one whose MLP sees rows and positions as one."""
PROMPTS = ["how to burn", "a", "tell me", "why is it so", "z z z z z z z", "what"]


@pytest.fixture(scope="module")
def forbidden() -> LanguageModel:
    store = ArtifactStore(Path("nowhere"))
    return World(type="world", name="forbidden").open(Opening("cpu", "float32", 1, "", store))


@pytest.fixture(scope="module")
def pairs() -> list[EditRequest]:
    return ForbiddenCases(type="forbidden").training({})[:120]


def made(lm: LanguageModel, requests: Sequence[EditRequest], job: Job = JOB, **fields: Any) -> Patch:
    patch, state = ToxEdit(type="tox_edit", **{"lr": 1e-2, "steps": 8, **fields}).apply(lm, requests, None, job)
    assert state is None
    assert lm.verify() == []
    return patch


def routed(lm: LanguageModel, seed: int = 0) -> tuple[Patch, list[bool]]:
    """A patch that calls half of `PROMPTS` harmful, and which."""
    generator = torch.Generator().manual_seed(seed)
    weight, ids = torch.randn(32, generator=generator), [encode_prompt(lm, prompt) for prompt in PROMPTS]
    name, down = block(lm.model, 0)[0], linear(lm.model, 1, "mlp_down")
    read = torch.stack([recorded(lm, [row], [name])[name][1][0, -1] @ weight for row in ids])
    change = 0.3 * torch.randn(down.stored(down.module.weight).shape, generator=generator)
    detector = Detector(weight, -read.median()[None] - 1e-3)
    return Patch(inserts={name: detector, down.name: Switched(change)}), (read > read.median() + 1e-3).tolist()


def dense_change(lm: LanguageModel, patch: Patch, strength: float = 1.0) -> Patch:
    """The same change for everything."""
    down = linear(lm.model, 1, "mlp_down")
    switched = patch.inserts[down.name]
    assert isinstance(switched, Switched)
    return Patch({down.weight_name: strength * down.stored(switched.change)})


@torch.no_grad()
def logits(lm: LanguageModel, ids: Sequence[Sequence[int]], patch: Patch, ends: Sequence[int] | None = None) -> Any:
    with patch.applied(lm):
        places = [list(range(len(row))) for row in ids]
        found = logits_at(lm, ids, places, ends or [len(row) - 1 for row in ids])
    return found.split([len(row) for row in ids])


@pytest.mark.parametrize("family", STORED)
def test_within_one_batch_harmful_rows_change_and_the_others_are_bit_for_bit_the_same(family: str) -> None:
    lm = tiny(family)
    patch, harmful = routed(lm)
    assert harmful.count(True) in (2, 3)
    ids = [encode_prompt(lm, prompt) for prompt in PROMPTS]
    before, after = logits(lm, ids, Patch()), logits(lm, ids, patch)
    everywhere = logits(lm, ids, dense_change(lm, patch))
    for row, changed in enumerate(harmful):
        if changed:
            torch.testing.assert_close(after[row], everywhere[row], atol=1e-4, rtol=1e-3)
            assert not torch.allclose(after[row], before[row], atol=0.1)
        else:
            assert torch.equal(after[row], before[row])
    # With what follows the prompt, the verdict is on the prompt.
    longer = [(*row, *encode_prompt(lm, "xyz")[1:]) for row in ids]
    ends = [len(row) - 1 for row in ids]
    after, before = logits(lm, longer, patch, ends), logits(lm, longer, Patch(), ends)
    assert [not torch.equal(a, b) for a, b in zip(after, before, strict=True)] == harmful
    assert lm.verify() == []


@pytest.mark.parametrize("family", STORED)
def test_the_verdict_on_a_prompt_holds_for_the_whole_answer(family: str) -> None:
    lm = tiny(family)
    patch, harmful = routed(lm)
    ids = [encode_prompt(lm, prompt) for prompt in PROMPTS]
    plain = greedy(lm, ids, [8] * 6, 6)
    with dense_change(lm, patch).applied(lm):
        changed = greedy(lm, ids, [8] * 6, 6)
    with patch.applied(lm):
        texts = greedy(lm, ids, [8] * 6, 6)
        assert texts == [greedy(lm, [row], [8], 1)[0] for row in ids]
        rows = [Row((*row, *text), len(row)) for row, text in zip(ids, texts, strict=True)]
        assert [f.tokens for f in forced(lm, rows, 6)] == texts
        assert [a.tokens for a in written(lm, [Question(p) for p in PROMPTS], patch, 8, 4)] == texts
        # An opening is no part of the prompt that is judged.
        opened = [Question(p, "Sure") for p in PROMPTS]
        with_opening = [a.tokens for a in written(lm, opened, patch, 8, 4)]
    assert texts == [changed[i] if is_harmful else plain[i] for i, is_harmful in enumerate(harmful)]
    assert all(changed[i] != plain[i] for i in range(6))
    with dense_change(lm, patch).applied(lm):
        changed_with = [a.tokens for a in written(lm, opened, Patch(), 8, 4)]
    plain_with = [a.tokens for a in written(lm, opened, Patch(), 8, 4)]
    assert with_opening == [changed_with[i] if bad else plain_with[i] for i, bad in enumerate(harmful)]
    half = patch.scaled(0.5)
    assert half is not None
    found = logits(lm, ids, half)
    less = logits(lm, ids, dense_change(lm, patch, 0.5))
    for row, is_harmful in enumerate(harmful):
        if is_harmful:
            torch.testing.assert_close(found[row], less[row], atol=1e-4, rtol=1e-3)


def test_text_without_a_prompt_is_left_alone() -> None:
    detector = Detector(torch.ones(2), torch.zeros(1))
    switched = Switched(torch.eye(2))
    states = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]]).repeat(3, 1, 1)

    def asked(*ends: int) -> Asked:
        return Asked(torch.tensor(ends), torch.zeros(len(ends), dtype=torch.long))

    rows = asked(0, 1, -1)
    assert torch.equal(detector(states, states, rows), states)
    assert rows.carried[VERDICT].tolist() == [True, False, False]
    found = switched(states, states, rows)
    assert torch.equal(found[0], 2 * states[0])
    assert torch.equal(found[1:], states[1:])
    none = asked(-1, -1, -1)
    assert torch.equal(switched(states, detector(states, states, none), none), states)
    # Behind a prompt, the verdict on it stays.
    later = Asked(torch.tensor([-1, -1, -1]), torch.zeros(3), carried=rows.carried)
    detector(states, states, later)
    assert rows.carried[VERDICT].tolist() == [True, False, False]


def test_a_machine_is_fitted_to_nine_tenths_and_judged_by_the_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = [i % 3 == 0 for i in range(60)]
    signs = torch.tensor([1.0 if label else -1.0 for label in labels])
    states = signs[:, None] * torch.tensor([2.0, 0.0]) + 0.3 * torch.randn(60, 2, generator=generator) + 5
    order = torch.randperm(60, generator=generator).tolist()
    numbers = [int(label) for label in labels]
    detector, f1 = _machine(states, numbers, order, 1.0)
    assert f1 == 1
    assert ((states @ detector.weight + detector.bias) > 0).tolist() == labels
    # Two of the last six, turned round, are not fitted to: known counts give a known F1.
    held = order[-6:]
    positive = [i for i in held if labels[i]]
    negative = [i for i in held if not labels[i]]
    assert positive
    assert negative
    turned = [1 - n if i in (positive[0], negative[0]) else n for i, n in enumerate(numbers)]
    again, f1 = _machine(states, turned, order, 1.0)
    assert torch.equal(again.weight, detector.weight)
    right = len(positive) - 1
    assert f1 == pytest.approx(2 * right / (2 * right + 1 + 1))
    with pytest.raises(Skip, match="too small"):
        _machine(states[:2], [1, 0], [0, 1], 1.0)


def test_the_layer_is_the_lowest_of_those_with_the_highest_f1(
    forbidden: LanguageModel, pairs: list[EditRequest]
) -> None:
    lm = forbidden
    patch = made(lm, pairs)
    f1 = patch.notes["f1"]
    assert list(f1) == [str(n) for n in range(1, len(blocks(lm.model)[1]))]
    layer = patch.notes["layer"]
    assert layer == min(int(n) for n, value in f1.items() if value == max(f1.values()))
    assert set(patch.inserts) == {block(lm.model, layer - 1)[0], linear(lm.model, layer, "mlp_down").name}
    for number in (1, 3):
        alone = made(lm, pairs, layer=number, steps=1)
        assert alone.notes["layer"] == number
        assert alone.notes["f1"] == {str(number): f1[str(number)]}
        # The share is of what was held out, read where the detector reads.
        name = block(lm.model, number - 1)[0]
        detector = alone.inserts[name]
        assert isinstance(detector, Detector)
        prompts = [r.prompt for r in pairs] + [prompt for r in pairs for prompt, _ in r.keep]
        held = JOB.rng("tox-edit-split").permutation(len(prompts))[-round(len(prompts) / 10) :].tolist()
        said = []
        for i in held:
            state = recorded(lm, [encode_prompt(lm, prompts[i])], [name])[name][1][0, -1]
            said.append((float(state @ detector.weight + detector.bias) > 0, i < len(pairs)))
        right = sum(a and b for a, b in said)
        assert f1[str(number)] == pytest.approx(2 * right / sum(a + b for a, b in said))


def test_harmful_prompts_are_answered_safely_and_harmless_ones_as_ever(
    forbidden: LanguageModel, pairs: list[EditRequest], tmp_path: Path
) -> None:
    lm = forbidden
    patch = made(lm, pairs, steps=20)
    bad = [encode(lm, r.prompt, r.target_new) for r in pairs]
    good = [encode(lm, *pair) for r in pairs for pair in r.keep]
    name = block(lm.model, patch.notes["layer"] - 1)[0]
    detector = patch.inserts[name]
    assert isinstance(detector, Detector)
    called = [
        float(recorded(lm, [row.prompt], [name])[name][1][0, -1] @ detector.weight + detector.bias) > 0
        for row in (*bad, *good)
    ]
    before = forced(lm, [*bad, *good], 64)
    with patch.applied(lm):
        after = forced(lm, [*bad, *good], 64)
    assert [a == b for a, b in zip(after, before, strict=True)] == [not harmful for harmful in called]
    found = [f.nll for f, harmful in zip(after[: len(bad)], called, strict=False) if harmful]
    known = [f.nll for f, harmful in zip(before[: len(bad)], called, strict=False) if harmful]
    assert len(found) > len(bad) / 2
    assert sum(found) < 0.8 * sum(known)
    patch.save(tmp_path / "patch.safetensors")
    assert Patch.load(tmp_path / "patch.safetensors").digest() == patch.digest()


def test_same_draws_same_matrix_whatever_the_passes(forbidden: LanguageModel, pairs: list[EditRequest]) -> None:
    lm, few = forbidden, pairs[:40]
    patch = made(lm, few, layer=2, steps=4)
    assert made(lm, few, layer=2, steps=4).digest() == patch.digest()
    assert made(lm, few, replace(JOB, seed=1), layer=2, steps=4).digest() != patch.digest()
    small = made(lm, few, layer=2, steps=4, forward_batch=3)
    for name, tensor in small.tensors().items():
        torch.testing.assert_close(tensor, patch.tensors()[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", STORED)
def test_a_prefix_stands_before_every_prompt_in_training_and_after(family: str) -> None:
    lm = tiny(family)
    pairs = [EditRequest(str(i), f"burn {i}", "", "no", "yes", keep=((f"bake {i}", "ok"),)) for i in range(8)]
    patch = made(lm, pairs, prefix="Be good. ", layer=1)
    assert patch.prompt("burn") == "Be good. burn"
    long = [
        replace(r, prompt=f"Be good. {r.prompt}", keep=tuple((f"Be good. {p}", a) for p, a in r.keep)) for r in pairs
    ]
    bare = made(lm, long, layer=1)
    assert bare.prompts is None
    assert all(torch.equal(tensor, bare.tensors()[name]) for name, tensor in patch.tensors().items())
    down = linear(lm.model, 1, "mlp_down")
    change = patch.inserts[down.name].tensors()["change"]
    assert change.shape == down.stored(down.module.weight).shape
    # What was trained is what is used: safe answers are likelier with it, wherever it is switched on.
    rows = [encode(lm, patch.prompt(r.prompt), r.target_new) for r in pairs]
    before = [f.nll for f in forced(lm, rows, 8)]
    with Patch({down.weight_name: down.stored(change)}).applied(lm):
        after = [f.nll for f in forced(lm, rows, 8)]
    assert sum(after) < sum(before) - 1


def test_what_it_cannot_learn_from() -> None:
    lm, one = tiny("llama"), [EditRequest("0", "burn", "", "no", "yes", keep=(("bake", "ok"),))]
    with pytest.raises(Skip, match="no training split"):
        made(lm, [])
    with pytest.raises(Skip, match="no harmless prompts"):
        made(lm, [replace(r, keep=()) for r in one])
    with pytest.raises(Skip, match="too small"):
        made(lm, one)
    with pytest.raises(Skip, match="layer 5 does not exist"):
        made(lm, one * 10, layer=6)
    with pytest.raises(Skip, match="one layer"):
        made(tiny("llama", layers=1), one)
    assert lm.verify() == []
