"""GRACE's codebook: known answers, what a conflict does, and that nobody else notices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm.codebook import Codebook
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.forward import logits_at
from benchwright.adapters.lm.generation import greedy
from benchwright.adapters.lm.interventions.memory.grace import SAME, Entry, _admit
from benchwright.adapters.lm.interventions.memory.params import Grace, Site
from benchwright.adapters.lm.model import Asked, LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Unusable, encode, forced
from benchwright.job import Job

tiny = lm_fixtures.tiny

JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
# One byte each: what two random layers can be brought to say.
REQUESTS = [
    EditRequest("0", "The capital of Vorland is ", "Vorland", "O"),
    EditRequest("1", "Mira plays the ", "Mira", "h"),
    EditRequest("2", "The river at Belt is called ", "Belt", "T"),
]


def grace(**fields: Any) -> Grace:
    return Grace(type="grace", site=Site(layer=1), **{"lr": 0.5, "epsilon": 0.1, **fields})


def logits(lm: LanguageModel, prompts: list[str]) -> torch.Tensor:
    rows = [encode(lm, prompt, "a") for prompt in prompts]
    ends = [row.start - 1 for row in rows]
    with torch.inference_mode():
        return logits_at(lm, [row.ids for row in rows], [[end] for end in ends], ends)


def codebook(patch: Patch) -> Codebook:
    (insert,) = patch.inserts.values()
    assert isinstance(insert, Codebook)
    return insert


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt", "llama"])
def test_an_edited_prompt_gives_the_target_and_another_the_very_same_logits(family: str, tmp_path: Path) -> None:
    lm = tiny(family)
    before = logits(lm, ["Another thing", REQUESTS[0].prompt])
    patch, state = grace().apply(lm, REQUESTS[:1], None, JOB)
    assert lm.verify() == []
    row = encode(lm, REQUESTS[0].prompt, REQUESTS[0].target_new)
    with patch.applied(lm):
        assert forced(lm, [row], 1)[0].tokens == row.target
        # Decoded token by token, with a cache: the lookup is the prompt's alone.
        assert greedy(lm, [row.prompt], [len(row.target)], 1) == [row.target]
        after = logits(lm, ["Another thing", REQUESTS[0].prompt])
    assert torch.equal(after[0], before[0])
    assert not torch.allclose(after[1], before[1])
    patch.save(tmp_path / "patch.safetensors")
    again = Patch.load(tmp_path / "patch.safetensors")
    assert again.digest() == patch.digest()
    with again.applied(lm):
        assert torch.equal(logits(lm, ["Another thing", REQUESTS[0].prompt]), after)
    assert lm.verify() == []
    assert state is not None
    assert set(state) == {"keys", "values", "epsilons", "labels"}


def test_the_rows_of_a_batch_do_not_see_each_other() -> None:
    lm = tiny("llama")
    patch, _ = grace().apply(lm, REQUESTS, None, JOB)
    prompts = [r.prompt for r in REQUESTS] + ["Another thing"]
    with patch.applied(lm):
        forward, backward = logits(lm, prompts), logits(lm, prompts[::-1])
        alone = torch.cat([logits(lm, [prompt]) for prompt in prompts])
    assert torch.equal(forward, backward.flip(0))
    assert torch.allclose(forward, alone, atol=1e-4)


def test_a_sequence_appends_all_four_in_order_and_keeps_every_edit() -> None:
    lm = tiny("llama")
    *_, (_, patch, _) = carried_out(lm, grace(), REQUESTS, 1, JOB)
    book = codebook(patch)
    rows = [encode(lm, r.prompt, r.target_new) for r in REQUESTS]
    assert [tuple(t for t in label if t >= 0) for label in book.labels.tolist()] == [row.target for row in rows]
    with patch.applied(lm):
        assert [f.tokens for f in forced(lm, rows, 3)] == [row.target for row in rows]
    # Together or each alone: the same entries, for no value depends on another.
    together, _ = grace().apply(lm, REQUESTS, None, JOB)
    each = grace().apply_each(lm, [*REQUESTS, EditRequest("3", "a", "a", " ")], JOB)
    assert isinstance(each[3], Unusable)
    for i, alone in enumerate(each[:3]):
        assert isinstance(alone, Patch)
        for name, tensor in codebook(alone).tensors().items():
            if name != "labels":
                assert torch.allclose(tensor[0], codebook(together).tensors()[name][i], atol=1e-4), name
                assert torch.allclose(tensor[0], book.tensors()[name][i], atol=1e-4), name
    assert lm.verify() == []


def entry(at: float, label: int, epsilon: float = 1.0) -> Entry:
    return Entry(torch.tensor([at, 0.0]), torch.zeros(3), epsilon, (label,))


def admitted(*news: tuple[float, int]) -> tuple[list[int], list[tuple[float, float, int]]]:
    entries: list[Entry] = []
    where = [_admit(entries, entry(*new), 1.0) for new in news]
    return where, [(float(e.key[0]), e.epsilon, e.label[0]) for e in entries]


def test_far_keys_are_new_and_near_ones_expand_split_or_take_over() -> None:
    assert admitted((0, 7), (2.5, 7)) == ([0, 1], [(0, 1, 7), (2.5, 1, 7)])
    assert admitted((0, 7), (0.5, 7)) == ([0, 0], [(0, 1, 7)])
    assert admitted((0, 7), (1.5, 7)) == ([0, 0], [(0, pytest.approx(1.5 + SAME), 7)])
    assert admitted((0, 7), (1.5, 8)) == ([0, 1], [(0, 0.75, 7), (1.5, 0.75, 8)])
    # A conflict never makes a region larger: the first one's 0.25 stays, though 1.25 is within both radii.
    assert admitted((0, 7), (0.5, 8), (-1.25, 9)) == (
        [0, 1, 2],
        [(0, 0.25, 7), (0.5, 0.25, 8), (-1.25, 0.625, 9)],
    )
    assert admitted((0, 7), (0, 8)) == ([0, 0], [(0, 1, 8)])


def test_the_same_prompt_with_another_target_gives_the_later_one() -> None:
    lm = tiny("llama")
    other = EditRequest("9", REQUESTS[0].prompt, "Vorland", "R")
    row = encode(lm, other.prompt, other.target_new)
    *_, (_, sequence, _) = carried_out(lm, grace(), [REQUESTS[0], other], 1, JOB)
    together, _ = grace().apply(lm, [REQUESTS[0], other], None, JOB)
    for patch in (sequence, together):
        assert len(codebook(patch).keys) == 1
        with patch.applied(lm):
            assert forced(lm, [row], 1)[0].tokens == row.target


def test_conflicting_neighbours_both_hold() -> None:
    lm = tiny("llama")
    a, b = EditRequest("0", "Mira plays the ", "Mira", "h"), EditRequest("1", "Tobin plays the ", "Tobin", "d")
    *_, (_, patch, _) = carried_out(lm, grace(epsilon=100.0), [a, b], 1, JOB)
    book = codebook(patch)
    distance = float((book.keys[0] - book.keys[1]).norm())
    assert book.epsilons.tolist() == pytest.approx([distance / 2] * 2)
    rows = [encode(lm, r.prompt, r.target_new) for r in (a, b)]
    with patch.applied(lm):
        assert [f.tokens for f in forced(lm, rows, 2)] == [row.target for row in rows]


def test_what_is_replaced_in_a_prompt() -> None:
    one = torch.tensor([[1.0, 1.0]])
    inputs, output = torch.zeros(3, 4, 2), torch.zeros(3, 4, 2)
    inputs[0, 2] = inputs[2, 0] = 1
    asked = Asked(torch.tensor([2, 2, -1]), torch.zeros(3, dtype=torch.long))
    for replace, expected in (("last", [0, 0, 1, 0]), ("prompt", [1, 1, 1, 0])):
        book = Codebook(one, one, torch.tensor([0.5]), torch.tensor([[5]]), replace)  # type: ignore[arg-type]
        found = book(inputs, output, asked)[..., 0].tolist()
        assert found == [expected, [0] * 4, [0] * 4]
    warm = grace(start="warm", replace="prompt")
    lm = tiny("gpt2")
    row = encode(lm, REQUESTS[1].prompt, REQUESTS[1].target_new)
    with warm.apply(lm, REQUESTS[1:2], None, JOB)[0].applied(lm):
        assert forced(lm, [row], 1)[0].tokens == row.target
