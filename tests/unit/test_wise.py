"""WISE: known answers of router, margins, merging and shards, and that nobody else notices."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import lm_fixtures
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.lm.architecture import linear
from benchwright.adapters.lm.checkpoints import kept, restored
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.forward import logits_at
from benchwright.adapters.lm.generation import greedy
from benchwright.adapters.lm.interventions.memory.descent import _at_rest, descended, lesson, margin_loss
from benchwright.adapters.lm.interventions.memory.merging import linear as weighted_mean
from benchwright.adapters.lm.interventions.memory.merging import slerp, ties
from benchwright.adapters.lm.interventions.memory.params import Irrelevant, Margins, Merge, Projection, Wise
from benchwright.adapters.lm.interventions.memory.texts import Texts
from benchwright.adapters.lm.interventions.memory.wise import Memories, Memory
from benchwright.adapters.lm.model import Asked, LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, Unusable, encode, forced
from benchwright.adapters.lm.sidememory import LONG, SideMemory
from benchwright.adapters.worlds.params import World
from benchwright.api import library
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.job import Job
from benchwright.loading.resolve import resolve

tiny = lm_fixtures.tiny

# One byte each: what two random layers can be brought to say.
REQUESTS = [
    EditRequest("0", "The capital of Vorland is ", "Vorland", "O"),
    EditRequest("1", "Mira plays the ", "Mira", "h"),
    EditRequest("2", "The river at Belt is called ", "Belt", "T"),
]
OTHER = "Another thing 123 45"


def wise(**fields: Any) -> Wise:
    given = {"site": Projection(layer=1), "keep": "merge", "lr": 0.1, "steps": 30, "context_beginnings": ()}
    margins = Margins(alpha=0.3, beta=1.5, gamma=0.7)
    return Wise(type="wise", **{**given, "margins": margins, "save_freq": 2, "merge_freq": 4, **fields})


@pytest.fixture
def job(tmp_path: Path) -> Job:
    none: Any = None
    return Job(none, none, 0, None, {}, {"subject": "one"}, {}, ArtifactStore(tmp_path))


def logits(lm: LanguageModel, prompts: list[str]) -> torch.Tensor:
    rows = [encode(lm, prompt, "a") for prompt in prompts]
    ends = [row.start - 1 for row in rows]
    with torch.inference_mode():
        return logits_at(lm, [row.ids for row in rows], [[end] for end in ends], ends)


def memory_of(patch: Patch) -> SideMemory:
    (insert,) = patch.inserts.values()
    assert isinstance(insert, SideMemory)
    return insert


def applied(method: Wise, lm: LanguageModel, requests: list[EditRequest], job: Job) -> tuple[Patch, Any]:
    method.prepare(lm, job)
    *_, (_, patch, state) = carried_out(lm, method, requests, 1, job)
    return patch, state


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt", "llama"])
def test_an_edited_prompt_gives_the_target_and_another_the_very_same_logits(
    family: str, tmp_path: Path, job: Job
) -> None:
    lm = tiny(family)
    before = logits(lm, [OTHER, REQUESTS[1].prompt])
    # Random models tell texts apart by little: it takes many that are irrelevant.
    method = wise(steps=60, mask_ratio=1.0, irrelevant=Irrelevant(each=8), margins=Margins(alpha=0.3, beta=6, gamma=4))
    patch, _ = applied(method, lm, REQUESTS[1:2], job)
    assert lm.verify() == []
    row = encode(lm, REQUESTS[1].prompt, REQUESTS[1].target_new)
    other = encode(lm, OTHER, "a").prompt
    with patch.applied(lm):
        assert forced(lm, [row], 1)[0].tokens == row.target
        # Decoded token by token, with a cache: what the router decided at the prompt holds for all of the text, also
        # where other prompts are beside it and padding is before it.
        (text,) = greedy(lm, [row.prompt], [6], 1)
        assert text[:1] == row.target
        assert forced(lm, [row.with_target(text)], 1)[0].tokens == text
        together = greedy(lm, [row.prompt, other], [6, 6], 2)
        after = logits(lm, [OTHER, REQUESTS[1].prompt])
    assert together == [text, *greedy(lm, [other], [6], 1)]
    assert torch.equal(after[0], before[0])
    assert not torch.allclose(after[1], before[1])
    patch.save(tmp_path / "patch.safetensors")
    again = Patch.load(tmp_path / "patch.safetensors")
    assert again.digest() == patch.digest()
    with again.applied(lm):
        assert torch.equal(logits(lm, [OTHER, REQUESTS[1].prompt]), after)
    assert torch.equal(logits(lm, [OTHER, REQUESTS[1].prompt]), before)
    assert lm.verify() == []


def test_the_rows_of_a_batch_do_not_see_each_other(job: Job) -> None:
    lm = tiny("llama")
    patch, _ = applied(wise(keep="retrieve"), lm, REQUESTS, job)
    prompts = [r.prompt for r in REQUESTS] + [OTHER, "a"]
    with patch.applied(lm):
        forward, backward = logits(lm, prompts), logits(lm, prompts[::-1])
        alone = torch.cat([logits(lm, [prompt]) for prompt in prompts])
    assert torch.equal(forward, backward.flip(0))
    assert torch.allclose(forward, alone, atol=1e-4)
    untouched = logits(lm, prompts)
    assert torch.equal(forward[3], untouched[3])
    assert not torch.allclose(forward[:3], untouched[:3], atol=1e-2)


@pytest.mark.parametrize("keep", ["merge", "retrieve"])
def test_a_sequence_that_is_resumed_equals_one_that_was_not(keep: str, job: Job) -> None:
    lm = tiny("llama")
    method = wise(keep=keep, save_freq=1, merge_freq=2, steps=3)
    requests = [dataclasses.replace(r, id=f"{i}-{r.id}") for i in range(2) for r in REQUESTS]
    whole, state = applied(method, lm, requests, job)
    for cut in (1, 2, 3):
        method = wise(keep=keep, save_freq=1, merge_freq=2, steps=3)
        begun = restored(kept(*applied(method, lm, requests[:cut], job)))
        *_, (_, patch, resumed) = carried_out(lm, method, requests[cut:], 1, job, begun)
        assert patch.digest() == whole.digest()
        assert all(torch.equal(resumed[name], tensor) for name, tensor in state.items())
    assert len(memory_of(whole).changes) == (1 if keep == "merge" else 3)


@pytest.fixture(scope="module")
def atlas() -> LanguageModel:
    return World(type="world", name="atlas-small").open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("."))))


@pytest.mark.parametrize("name", ["wise-merge", "wise-retrieve"])
def test_edits_are_retained_and_what_is_far_is_left_alone(name: str, atlas: LanguageModel, job: Job) -> None:
    known = library([])
    method = resolve(known, known.get("method", name), ("atlas-small",)).spec.algorithm
    assert isinstance(method, Wise)
    cases = WorldEdits(type="world_edits", world="atlas-small", split="validation").load({}, None)[:10]
    method = method.model_copy(update={"save_freq": 5, "merge_freq": 10 if name == "wise-merge" else 5})
    requests = [case.request for case in cases]
    patch, _ = applied(method, atlas, requests, job)
    assert len(memory_of(patch).changes) == (1 if name == "wise-merge" else 2)
    edited = [encode(atlas, r.prompt, r.target_new) for r in requests]
    near = [encode(atlas, p.prompt, p.answers[0]) for case in cases for p in case.locality["neighbourhood"]]
    far = [Row(tuple(text), len(text) - 1) for text in method._texts(atlas, job).irrelevant[:60]]
    before = [forced(atlas, rows, 64) for rows in (near, far)]
    with patch.applied(atlas):
        held = [f.tokens == row.target for f, row in zip(forced(atlas, edited, 10), edited, strict=True)]
        after = [forced(atlas, rows, 64) for rows in (near, far)]
    # Nearly all hold at the end, those of the first shard as well.
    assert sum(held) >= 8
    assert sum(held[:5]) >= 4
    assert [a.tokens == b.tokens for a, b in zip(after[0], before[0], strict=True)].count(True) >= 0.9 * len(near)
    # Most texts that have nothing to do with them go another way than through the memory: nothing changes at all.
    assert [a == b for a, b in zip(after[1], before[1], strict=True)].count(True) >= 0.7 * len(far)
    assert atlas.verify() == []


def test_the_loss_is_what_the_model_says_and_layers_below_are_computed_once(job: Job) -> None:
    lm = tiny("llama")
    method = wise(context_beginnings=("", "I"), context_lengths=(2,), distance="outputs", steps=3)
    method.prepare(lm, job)
    texts = method._texts(lm, job)
    rows = texts.rows(lm, REQUESTS[1])
    assert len(rows) == 3
    projection = linear(lm.model, 1, "mlp_down")
    task = lesson(lm, rows, texts.beside(lm, REQUESTS[1], 2, job), 1)
    start = torch.zeros_like(projection.module.weight)
    full = torch.ones_like(start, dtype=torch.bool)
    found = descended(method, lm, projection, task, start, full, "")
    # Unchanged, the memory says what the model says, and no distance is there yet.
    said = np.mean([f.nll for f in forced(lm, rows, 3)])
    assert found.losses[0] == pytest.approx((said, 1.5 + 0.7))
    assert [sum(a) > sum(b) for a, b in pairwise(found.losses)] == [True, True]
    plain = descended(method, lm, projection, dataclasses.replace(task, below=None), start, full, "")
    assert torch.allclose(plain.change, found.change, atol=1e-5)
    # In use, it is the weight: the module with W' in place says the same.
    with Patch({projection.weight_name: found.change}).applied(lm):
        after = np.mean([f.nll for f in forced(lm, rows, 3)])
    again = descended(method, lm, projection, task, found.change, full, "")
    assert again.losses[0][0] == pytest.approx(after, abs=1e-5)


def test_gradients_stay_inside_the_mask_and_changes_inside_the_bound(job: Job) -> None:
    lm = tiny("gpt2")
    method = wise(keep="retrieve", save_freq=1, merge_freq=10, mask_ratio=0.3, lr=5.0, norm_constraint=0.25)
    patch, _ = applied(method, lm, REQUESTS[:2], job)
    first, second = memory_of(patch).changes
    for change in (first, second):
        assert float(change.abs().max()) == 0.25
        assert 0.2 < float((change != 0).float().mean()) < 0.35
    assert 0.05 < float(((first != 0) & (second != 0)).float().mean()) < 0.15  # 0.09: drawn independently


def test_margins() -> None:
    margins = Margins(alpha=5, beta=20, gamma=10)
    near, far = torch.tensor([25.0, 16.0, 10.0]), torch.tensor([8.0, 2.0])
    # 8 - 5; the mean of 20 - 16 and 20 - 10; of the pairs' 10 - near + far, 2, 8 with 8, and 2 with 2 are positive.
    assert float(margin_loss(near, far, margins)) == pytest.approx(3 + 7 + (2 + 8 + 2) / 3)
    assert float(margin_loss(torch.tensor([40.0]), torch.tensor([1.0]), margins)) == 0


def test_when_a_descent_rests() -> None:
    method = wise()
    assert not _at_rest(method, [(0.0, 0.0)])
    assert _at_rest(method, [(0.01, 0.0), (0.005, 0.00501)])
    assert not _at_rest(method, [(0.01, 0.0), (0.005, 0.003)])  # moves still
    assert not _at_rest(method, [(0.01, 0.02), (0.01, 0.02)])  # not low enough


def test_merging_known_answers() -> None:
    changes = torch.tensor([[[4.0, -1.0, 0.1, 3.0]], [[2.0, 5.0, 6.0, -0.2]]])
    # Half of the entries stay: 4 and 3 of the first, 5 and 6 of the second.
    assert ties(changes, [0.5, 0.5], 0.5).tolist() == [[4.0, 5.0, 6.0, 3.0]]
    # All stay: the same sign is averaged by weight; 1 · 3 against 3 · 0.2 elects plus, 1 · 1 against 3 · 5 as well.
    found = ties(changes, [1.0, 3.0], 1.0)
    assert found[0].tolist() == pytest.approx([2.5, 5.0, (0.1 + 18) / 4, 3.0])
    # Equal and opposite: plus.
    assert ties(torch.tensor([[[-2.0]], [[2.0]]]), [0.5, 0.5], 1.0).tolist() == [[2.0]]
    assert ties(torch.zeros(2, 1, 3), [0.5, 0.5], 1.0).tolist() == [[0.0] * 3]
    assert weighted_mean(changes, [1.0, 3.0])[0].tolist() == pytest.approx([2.5, 3.5, 4.525, 0.6])
    turned = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert slerp(turned, [0.5, 0.5])[0].tolist() == pytest.approx([2**-0.5, 2**-0.5])
    assert slerp(turned, [2.0, 1.0])[0].tolist() == pytest.approx([3**0.5 / 2, 0.5])  # a third of 90 degrees
    assert slerp(torch.stack([turned[0], 3 * turned[0]]), [0.5, 0.5])[0].tolist() == pytest.approx([2.0, 0.0])
    assert slerp(torch.zeros(2, 1, 2), [0.5, 0.5])[0].tolist() == [0.0, 0.0]


def test_shards_are_saved_and_merged_in_time() -> None:
    def after(keep: str, edits: int) -> list[tuple[float, float]]:
        method = wise(keep=keep, merge=Merge(rule="linear"))
        memories = Memories(Memory(torch.zeros(1, 1)))
        for edit in range(1, edits + 1):
            memories.learned(method, memories.current.change + edit, 10.0 - edit)
        insert = memories.insert(method, "")
        return [(float(c), float(t) / 0.88) for c, t in zip(insert.changes, insert.thresholds, strict=True)]

    # Shards of two requests: 1 + 2, 3 + 4, 5 + 6, 7 + 8, each known by its smallest distance.
    assert after("merge", 1) == [(1, pytest.approx(9))]
    assert after("merge", 3) == [(3, pytest.approx(8)), (3, pytest.approx(7))]
    assert after("merge", 4) == after("retrieve", 4) == [(5, pytest.approx(6))]
    assert after("merge", 5) == [(5, pytest.approx(6)), (5, pytest.approx(5))]
    # What was merged weighs 0.6, the two new shards 0.2 each.
    assert after("merge", 8) == [(pytest.approx(0.6 * 5 + 0.2 * 11 + 0.2 * 15), pytest.approx(2))]
    assert after("retrieve", 8) == [(5, pytest.approx(6)), (13, pytest.approx(2))]
    with pytest.raises(ValidationError, match="multiple of save_freq"):
        wise(save_freq=3, merge_freq=4)


def router() -> SideMemory:
    """Adds the first number of an input, or twice the second, to the output; used above 1, and above 3."""
    return SideMemory(torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]]), torch.tensor([1.0, 3.0]))


def asked(ends: list[int], starts: list[int] | None = None, carried: dict[object, torch.Tensor] | None = None) -> Asked:
    owners = torch.zeros(len(ends), dtype=torch.long)
    return Asked(torch.tensor(ends), owners, torch.tensor(starts) if starts else None, carried or {})


def test_each_prompt_goes_to_the_memory_that_differs_most_above_its_threshold() -> None:
    output = torch.zeros(1, 2, 1)

    def used(*tokens: tuple[float, float]) -> list[float]:
        inputs = torch.tensor([tokens])
        return [float(x) for x in router()(inputs, torch.zeros(1, len(tokens), 1), asked([1]))[0, :, 0]]

    assert used((1, 1), (1, 1)) == [0, 0]  # 1 is not above 1, nor 2 above 3
    assert used((1.5, 1.2), (1.5, 1.2)) == [1.5, 1.5]  # 2.4 is more than 1.5, but below its own threshold
    assert used((3, 2), (3, 2)) == [4, 4]
    assert used((5, 2), (5, 2)) == [5, 5]
    assert used((0, 0), (3, 0)) == [0, 3]  # mean of 1.5 over the prompt
    assert used((1, 0), (1, 0), (9, 9)) == [0, 0, 0]  # what is behind the prompt does not decide
    assert used((2, 0), (2, 0), (9, 9)) == [2, 2, 9]  # but follows
    # Padding at the left is no part of a prompt.
    padded = torch.tensor([[[9.0, 9.0], [1.0, 0.0]], [[2.0, 0.0], [2.0, 0.0]]])
    assert router()(padded, torch.zeros(2, 2, 1), asked([1, 1], [1, 0]))[..., 0].tolist() == [[0, 0], [2, 2]]
    # A long prompt is known by its most different token.
    long = torch.zeros(1, LONG + 1, 2)
    long[0, 5, 0] = 2
    assert float(router()(long, torch.zeros(1, LONG + 1, 1), asked([LONG])).sum()) == 2
    assert float(router()(long[:, :LONG], torch.zeros(1, LONG, 1), asked([LONG - 1])).sum()) == 0
    # Behind an activation function that is 0 below 0, a change there is none.
    behind = dataclasses.replace(router(), activation="relu")
    inputs = torch.full((1, 2, 2), 2.0)
    assert float(behind(inputs, output - 10, asked([1])).sum()) == -20
    assert float(behind(inputs, output, asked([1])).sum()) == 8


def test_steps_behind_a_prompt_follow_its_decision() -> None:
    memory, output = router(), torch.zeros(3, 1, 1)
    carried: dict[object, torch.Tensor] = {}
    now = Asked(torch.tensor([0, 0, 0]), torch.zeros(3, dtype=torch.long), None, carried)
    prompts = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]], [[0.0, 2.0]]])
    assert memory(prompts, output, now)[:, 0, 0].tolist() == [2, 0, 4]
    later = dataclasses.replace(now, prompt_ends=torch.tensor([-1, -1, -1]))
    step = torch.full((3, 1, 2), 5.0)
    assert memory(step, output, later)[:, 0, 0].tolist() == [5, 0, 10]
    # Another memory has decided nothing, nor has anyone where there was no prompt.
    assert router()(step, output, later)[:, 0, 0].tolist() == [0, 0, 0]
    assert memory(step, output, asked([-1, -1, -1]))[:, 0, 0].tolist() == [0, 0, 0]


def test_what_a_request_is_learned_beside(job: Job) -> None:
    lm = tiny("llama")
    pool = [encode(lm, text, "a").prompt for text in ("of Vorland", "a river", "a tree", "a house")]
    texts = Texts(("{}",), tuple(pool))
    found = texts.beside(lm, REQUESTS[0], 4, job)
    assert sorted(found) == sorted(pool[1:])  # none that has its subject
    assert texts.beside(lm, REQUESTS[0], 2, job) == found[:2]
    keep = dataclasses.replace(REQUESTS[0], keep=(("Sol is a", "star"), ("", "nothing"), ("Io is a", "moon")))
    own = texts.beside(lm, keep, 3, job)
    assert sorted(own) == sorted(encode(lm, prompt, "a").prompt for prompt in ("Sol is a", "Io is a", ""))


def test_texts_are_those_of_a_file_or_of_the_untouched_model(tmp_path: Path, job: Job) -> None:
    lm = tiny("llama")
    file = tmp_path / "texts.txt"
    file.write_text("one line\n\nanother line\n", encoding="utf-8")
    given = dataclasses.replace(job, files={"algorithm": {"irrelevant.file": file}})
    texts = wise(irrelevant=Irrelevant(file="texts.txt", tokens=5))._texts(lm, given)
    assert texts.irrelevant == tuple(encode(lm, text, "a").prompt[:5] for text in ("one line", "another line"))
    own = wise(irrelevant=Irrelevant(samples=3, tokens=5))._texts(lm, job)
    assert [len(text) for text in own.irrelevant] == [5, 5, 5]
    with Patch().applied(lm), pytest.raises(RuntimeError, match="untouched"):
        wise(irrelevant=Irrelevant(samples=4))._texts(lm, job)


def test_a_request_must_fit_behind_its_contexts(job: Job) -> None:
    lm = tiny("llama")
    method = wise(context_beginnings=("I",), context_lengths=(40,))
    long = EditRequest("9", "x" * 100, "x", "y")
    assert isinstance(encode(lm, long.prompt, long.target_new), Row)
    with pytest.raises(Unusable, match="longer than"):
        method.check(lm, long, job)
    method.check(lm, REQUESTS[0], job)
