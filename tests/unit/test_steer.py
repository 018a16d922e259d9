"""Steering: where hidden states are moved and how far, which directions are read off them, and what that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_fixtures
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchwright.adapters.detox.sources.params import ForbiddenCases
from benchwright.adapters.lm.architecture import block, blocks, final_norm, linear, part
from benchwright.adapters.lm.forward import logits_at, recorded
from benchwright.adapters.lm.generation import greedy
from benchwright.adapters.lm.interventions.steer import ActAdd, LmSteer, ProjectOut, Steer
from benchwright.adapters.lm.interventions.steer.directions import _principal, toxic_subspace
from benchwright.adapters.lm.model import Asked, LanguageModel
from benchwright.adapters.lm.patch import Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, encode, encode_prompt, forced
from benchwright.adapters.lm.steering import Ablated, Added, Mapped
from benchwright.adapters.worlds.params import World
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import Skip
from benchwright.job import Job

tiny = lm_fixtures.tiny

JOB = Job(None, None, 0, None, {}, {}, {}, None)  # type: ignore[arg-type]
TEXTS = [
    ("how to burn it", "no way", "take fire", "how to bake", "flour"),
    ("how to rob", "not with me", "use a gun", "how to rest now", "use a bed"),
    ("tell evil", "never", "this is evil", "tell good", "that is good"),
    ("make a bomb please", "no", "mix both", "make a cake", "mix all"),
    ("why hit", "do not", "for fun", "why sit", "for rest"),
]
REQUESTS = [
    EditRequest(str(i), prompt, "", safe, unsafe, keep=((other, answer),))
    for i, (prompt, safe, unsafe, other, answer) in enumerate(TEXTS)
]
WHERE = ("all", "answer", "front")
PROMPTS = ["a b c d e f g h", "a", "how to do this"]


@pytest.fixture(scope="module")
def forbidden() -> LanguageModel:
    store = ArtifactStore(Path("nowhere"))
    return World(type="world", name="forbidden").open(Opening("cpu", "float32", 1, "", store))


@pytest.fixture(scope="module")
def pairs() -> list[EditRequest]:
    return ForbiddenCases(type="forbidden").training({})[:64]


def made(lm: LanguageModel, spec: Any, requests: Sequence[EditRequest] = REQUESTS, job: Job = JOB) -> Patch:
    patch, state = spec.apply(lm, requests, None, job)
    assert state is None
    assert lm.verify() == []
    return patch


def steer(**fields: Any) -> Steer:
    return Steer(type="steer", **{"direction": "response_mean", "layers": (0,), **fields})


def act_add(**fields: Any) -> ActAdd:
    return ActAdd(type="act_add", toward="good", away="bad", layer=0, **fields)


def hidden(lm: LanguageModel, ids: Sequence[int], layer: int, end: int | None = None) -> torch.Tensor:
    """What a block puts out, shape (tokens, width)."""
    name = block(lm.model, layer)[0]
    return recorded(lm, [ids], [name], None if end is None else [end])[name][1][0]


def asked(*ends: int, starts: Sequence[int] | None = None) -> Asked:
    return Asked(
        torch.tensor(ends), torch.zeros(len(ends), dtype=torch.long), None if starts is None else torch.tensor(starts)
    )


def test_which_positions_are_moved() -> None:
    output, one = torch.zeros(3, 5, 1), torch.ones(1, 1)
    ends = asked(1, 4, -1)

    def moved(insert: Added, rows: Asked) -> list[list[float]]:
        return insert(output, output, rows)[..., 0].tolist()

    assert moved(Added(one, 2.0, "all"), ends) == [[2.0] * 5] * 3
    # From the prompt's last token; behind a prompt, its end given as -1, everywhere.
    assert moved(Added(one, 2.0, "answer"), ends) == [[0, 2, 2, 2, 2], [0, 0, 0, 0, 2], [2, 2, 2, 2, 2]]
    front = Added(torch.tensor([[1.0], [2.0], [3.0]]), 1.0, "front")
    # Not behind the end of the prompt, and not in what is written behind it.
    assert moved(front, ends) == [[1, 2, 0, 0, 0], [1, 2, 3, 0, 0], [0, 0, 0, 0, 0]]
    # Padding at the left: prompts begin where they begin.
    assert moved(front, asked(4, 4, 3, starts=[0, 3, 2])) == [[1, 2, 3, 0, 0], [0, 0, 0, 1, 2], [0, 0, 1, 2, 0]]
    assert Added(one, 2.0, "all").scaled(0.5).strength == 1.0


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "gemma2"])
def test_what_is_written_with_padding_at_the_left_is_what_teacher_forcing_says(family: str, where: Any) -> None:
    lm = tiny(family)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(3 if where == "front" else 1, 32, generator=generator)
    patch = Patch(inserts={block(lm.model, 0)[0]: Added(vectors, 4.0, where)})
    prompts = [encode_prompt(lm, prompt) for prompt in PROMPTS]
    plain = greedy(lm, prompts, [6] * 3, 3)
    with patch.applied(lm):
        texts = greedy(lm, prompts, [6] * 3, 3)
        assert texts == [greedy(lm, [prompt], [6], 1)[0] for prompt in prompts]
        rows = [Row((*prompt, *text), len(prompt)) for prompt, text in zip(prompts, texts, strict=True)]
        assert [f.tokens for f in forced(lm, rows, 3)] == texts
    assert texts != plain


def test_an_answer_is_moved_from_the_prompt_s_last_token_on() -> None:
    lm = tiny("llama")
    row = encode(lm, "how to do", "it well")
    patch = Patch(inserts={block(lm.model, 0)[0]: Added(torch.ones(1, 32), 3.0, "answer")})
    before = hidden(lm, row.ids, 0, row.start - 1)
    with patch.applied(lm):
        after = hidden(lm, row.ids, 0, row.start - 1)
    moved = (after - before).abs().amax(-1) > 0
    assert moved.tolist() == [at >= row.start - 1 for at in range(len(row.ids))]
    torch.testing.assert_close(after[row.start - 1 :] - before[row.start - 1 :], torch.full((9, 32), 3.0))


@pytest.mark.parametrize("family", lm_fixtures.FAMILIES)
def test_what_is_ablated_is_in_no_block_s_input_or_output(family: str, tmp_path: Path) -> None:
    """Also where a family adds embeddings of positions, has no module for its MLP, or is called with keywords."""
    lm = tiny(family)
    if family == "gemma2":
        # The weights of the norms behind attention and MLP turn what was ablated before them.
        for name, parameter in lm.model.named_parameters():
            if "norm" in name:
                parameter.data.normal_(0, 0.5, generator=torch.Generator().manual_seed(0))
        lm = LanguageModel(lm.model, lm.tokenizer)
    patch = made(lm, steer(layers=(1,), operation="ablate"))
    (direction,) = {insert.tensors()["direction"] for insert in patch.inserts.values()}
    assert float(direction.norm()) == pytest.approx(1, abs=1e-5)
    row = encode(lm, "how to do", "it well")
    names = [block(lm.model, n)[0] for n in range(len(blocks(lm.model)[1]))]
    attention = part(lm.model, 0, "attention")[0]
    with patch.applied(lm):
        seen = recorded(lm, [row.ids], [attention, *names])
        texts = greedy(lm, [row.prompt, row.ids], [4, 4], 2)
        rows = [Row((*p, *t), len(p)) for p, t in zip((row.prompt, row.ids), texts, strict=True)]
        assert [f.tokens for f in forced(lm, rows, 2)] == texts
    for name in names:
        for states in seen[name]:
            assert float((states @ direction).abs().max()) < 1e-5
            assert float(states.norm()) > 1
    assert float((seen[attention][1] @ direction).abs().max()) < 1e-5
    before = recorded(lm, [row.ids], names)
    assert all(float((before[name][0] @ direction).abs().max()) > 1e-2 for name in names)
    # One vector behind many modules is saved all the same.
    patch.save(tmp_path / "patch.safetensors")
    assert Patch.load(tmp_path / "patch.safetensors").digest() == patch.digest()
    # Half of it is left at half the strength.
    known = before[names[0]][1]
    torch.testing.assert_close(Ablated(direction, 0.5)(known, known, asked(0)) @ direction, 0.5 * (known @ direction))


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_directions_are_the_means_that_they_are_said_to_be(family: str) -> None:
    lm = tiny(family)
    spec = steer(layers=(0, 1), strength=1.5)
    patch = made(lm, spec)
    assert list(patch.inserts) == [block(lm.model, n)[0] for n in (0, 1)]
    for layer, insert in enumerate(patch.inserts.values()):
        assert isinstance(insert, Added)
        sides = []
        for answers in ([r.target_new for r in REQUESTS], [str(r.target_true) for r in REQUESTS]):
            rows = [encode(lm, r.prompt, a) for r, a in zip(REQUESTS, answers, strict=True)]
            sides.append(torch.stack([hidden(lm, row.ids, layer)[row.start :].mean(0) for row in rows]))
        torch.testing.assert_close(insert.vectors[0], (sides[0] - sides[1]).mean(0), atol=1e-5, rtol=1e-4)
        assert (insert.strength, insert.where) == (1.5, "answer")
    refusal = made(lm, steer(direction="prompt_means", layers=(1,), where="all"))
    (insert,) = refusal.inserts.values()
    means = [
        torch.stack([hidden(lm, encode_prompt(lm, prompt), 1)[-1] for prompt in prompts]).mean(0)
        for prompts in ([r.prompt for r in REQUESTS], [prompt for r in REQUESTS for prompt, _ in r.keep])
    ]
    torch.testing.assert_close(insert.tensors()["vectors"][0], means[0] - means[1], atol=1e-5, rtol=1e-4)
    small, whole = made(lm, steer(forward_batch=1)).tensors(), made(lm, steer()).tensors()
    assert small.keys() == whole.keys()
    for name, tensor in small.items():
        torch.testing.assert_close(tensor, whole[name], atol=1e-5, rtol=1e-4)
    principal, other = made(lm, steer(direction="principal", layers=(0, 1))).inserts.values()
    assert not torch.equal(principal.tensors()["vectors"], other.tensors()["vectors"])
    assert float(principal.tensors()["vectors"].norm()) == pytest.approx(1, abs=1e-5)


def test_a_principal_direction_points_to_the_safe_side_whatever_the_order_of_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.normalize(torch.randn(16, generator=generator), dim=0)
    shared = 5 * torch.randn(200, 16, generator=generator)
    safe, unsafe = shared + 2 * truth + 0.1 * torch.randn(200, 16, generator=generator), shared - 2 * truth
    signs = torch.tensor([1.0, -1.0]).repeat(100)
    found = _principal(safe, unsafe, signs)
    assert float(found @ truth) > 0.999
    assert float(found.norm()) == pytest.approx(1, abs=1e-5)
    order = torch.randperm(200, generator=generator)
    torch.testing.assert_close(_principal(safe[order], unsafe[order], signs[order]), found, atol=1e-4, rtol=0)
    torch.testing.assert_close(_principal(safe, unsafe, -signs), found, atol=1e-4, rtol=0)
    torch.testing.assert_close(_principal(unsafe, safe, signs), -found, atol=1e-4, rtol=0)
    other = torch.tensor(np.random.default_rng(1).integers(0, 2, 200) * 2 - 1, dtype=torch.float32)
    assert float(_principal(safe, unsafe, other) @ found) > 0.999
    # Why pairs are turned at random: centring takes away what all differences have in common.
    assert abs(float(_principal(safe, unsafe, torch.ones(200)) @ truth)) < 0.9


def test_pairs_are_drawn_alike_for_all_methods_and_none_is_no_split() -> None:
    lm = tiny("llama")
    few = made(lm, steer(pairs=2))
    assert few.digest() == made(lm, steer(pairs=2)).digest() != made(lm, steer()).digest()
    assert {made(lm, steer(pairs=2), job=replace(JOB, seed=n)).digest() for n in range(5)} != {few.digest()}
    (drawn,) = [
        pair
        for n, one in enumerate(REQUESTS)
        for other in REQUESTS[n + 1 :]
        for pair in [(one, other)]
        if made(lm, steer(pairs=2), pair).digest() == few.digest()
    ]
    assert made(lm, ProjectOut(type="project_out", layers=(0,), rank=1, pairs=2), drawn).digest() == (
        made(lm, ProjectOut(type="project_out", layers=(0,), rank=1, pairs=2)).digest()
    )
    for spec in (steer(), ProjectOut(type="project_out", layers=(0,), rank=1), LmSteer(type="lm_steer", rank=2)):
        with pytest.raises(Skip, match="no training split"):
            spec.apply(lm, [], None, JOB)
    with pytest.raises(Skip, match="no harmless prompts"):
        steer(direction="prompt_means").apply(lm, [replace(r, keep=()) for r in REQUESTS], None, JOB)
    with pytest.raises(Skip, match="layer 9"):
        steer(layers=(9,)).apply(lm, REQUESTS, None, JOB)
    with pytest.raises(ValidationError, match="one direction can be ablated"):
        steer(layers=(0, 1), operation="ablate")


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_activation_addition_is_the_difference_token_by_token(family: str) -> None:
    lm = tiny(family)
    patch = made(lm, act_add(strength=2.0), [])
    ((name, insert),) = patch.inserts.items()
    assert isinstance(insert, Added)
    assert (name, insert.where, insert.strength) == (block(lm.model, 0)[0], "front", 2.0)
    toward, away = encode_prompt(lm, "good"), encode_prompt(lm, "bad")
    filled = (*away, lm.tokenizer.pad_token_id)  # the shorter one, at its end
    torch.testing.assert_close(insert.vectors, hidden(lm, toward, 0) - hidden(lm, filled, 0), atol=1e-5, rtol=1e-4)
    assert float(insert.vectors[0].abs().max()) < 1e-5  # the beginning of the text is the same
    row = encode(lm, "how to do", "it")
    before = hidden(lm, row.ids, 0, row.start - 1)
    with patch.applied(lm):
        after = hidden(lm, row.ids, 0, row.start - 1)
    expected = before.clone()
    expected[: len(toward)] += 2.0 * insert.vectors
    torch.testing.assert_close(after, expected)
    # Without a padding token the end of text fills up, and without both any token does.
    lm.tokenizer.pad_token = None
    assert made(LanguageModel(lm.model, lm.tokenizer), act_add(strength=2.0), []).digest() == patch.digest()
    lm.tokenizer.eos_token = None
    made(LanguageModel(lm.model, lm.tokenizer), act_add(), [])


def test_a_subspace_is_found_that_is_not_what_all_texts_share() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(24, 24, generator=generator)).Q.T
    shared, toxic, rest = basis[0], basis[1:3], basis[3:]
    safe = 20 * shared + 0.5 * torch.randn(300, 21, generator=generator) @ rest
    # What differs most between the sides is along what they share: it is not toxic.
    along = 3 * torch.randn(300, 1, generator=generator) * shared
    unsafe = safe + torch.randn(300, 2, generator=generator) * torch.tensor([2.0, 1.0]) @ toxic + along
    found = toxic_subspace(safe, unsafe, 2)
    torch.testing.assert_close(found.T @ found, toxic.T @ toxic, atol=1e-2, rtol=0)
    torch.testing.assert_close(found @ found.T, torch.eye(2), atol=1e-5, rtol=0)
    assert float((found @ shared).abs().max()) < 1e-3
    torch.testing.assert_close(toxic_subspace(safe, unsafe, 1).abs(), found[:1].abs(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_a_projected_value_matrix_writes_nothing_toxic(family: str) -> None:
    lm = tiny(family)
    spec = ProjectOut(type="project_out", layers=(0, 1), rank=2)
    patch = made(lm, spec)
    assert patch.stackable
    for layer in (0, 1):
        sides = [
            torch.stack([hidden(lm, encode_prompt(lm, text), layer).mean(0) for text in texts])
            for texts in ([r.target_new for r in REQUESTS], [str(r.target_true) for r in REQUESTS])
        ]
        space = toxic_subspace(*sides, 2)
        found = linear(lm.model, layer, "mlp_down")
        old = found.stored(found.module.weight).clone()
        with patch.applied(lm):
            new = found.stored(found.module.weight).clone()
            # Of a matrix that writes nothing toxic nothing is taken.
            left = new - space.T @ space @ new
        torch.testing.assert_close(new, old - space.T @ space @ old, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(left, new, atol=1e-4, rtol=0)
        assert float((space @ new).abs().max()) < 1e-4 < float((space @ old).abs().max())
        assert dense(patch.deltas[found.weight_name]).shape == found.module.weight.shape


def test_lm_steer_is_another_output_embedding() -> None:
    lm = tiny("gpt2")
    generator = torch.Generator().manual_seed(0)
    into, out = torch.randn(2, 32, 3, generator=generator).unbind()
    ids = encode_prompt(lm, "how to do")
    norm = final_norm(lm.model)[0]
    states = recorded(lm, [ids], [norm])[norm][1][0]
    weight = lm.model.get_output_embeddings().weight
    with Patch(inserts={norm: Mapped(into, out, 0.3)}).applied(lm):
        found = logits_at(lm, [ids], [range(len(ids))], [len(ids) - 1])
    torch.testing.assert_close(found, states @ (weight + 0.3 * weight @ out @ into.T).T, atol=1e-3, rtol=1e-4)


def test_lm_steer_makes_the_safe_likely_and_reversed_the_unsafe(
    forbidden: LanguageModel, pairs: list[EditRequest]
) -> None:
    lm, spec = forbidden, LmSteer(type="lm_steer", rank=8, steps=60, epsilon=0.1, strength=1.0)
    patch = made(lm, spec, pairs)
    (insert,) = patch.inserts.values()
    assert isinstance(insert, Mapped)
    assert insert.strength == pytest.approx(0.1)

    def likely(patch: Patch) -> tuple[float, float]:
        sides = []
        for answers in ([r.target_new for r in pairs[:12]], [str(r.target_true) for r in pairs[:12]]):
            rows = [encode(lm, r.prompt, a) for r, a in zip(pairs, answers, strict=False)]
            with patch.applied(lm):
                sides.append(-sum(f.nll for f in forced(lm, rows, 64)) / len(rows))
        return sides[0], sides[1]

    plain, steered, against = (likely(p) for p in (Patch(), patch, patch.scaled(-1.0) or Patch()))
    assert steered[0] > plain[0] + 0.01
    assert steered[0] - steered[1] > plain[0] - plain[1] + 0.1
    assert against[1] > plain[1] + 0.01
    assert against[0] - against[1] < plain[0] - plain[1] - 0.1
    assert made(lm, spec, pairs).digest() == patch.digest()
    small = made(lm, LmSteer(type="lm_steer", rank=8, steps=60, epsilon=0.1, strength=1.0, forward_batch=3), pairs)
    for name, tensor in small.tensors().items():
        torch.testing.assert_close(tensor, patch.tensors()[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_no_strength_changes_nothing(family: str) -> None:
    lm = tiny(family)
    specs = [
        *(steer(strength=0.0, where=where) for where in ("all", "answer")),
        steer(operation="ablate", strength=0.0),
        steer(direction="principal", strength=0.0),
        act_add(strength=0.0),
        LmSteer(type="lm_steer", rank=2, steps=2, strength=0.0),
    ]
    ids = encode_prompt(lm, "how to do this")
    before = logits_at(lm, [ids], [range(len(ids))], [3])
    for spec in specs:
        patch = made(lm, spec)
        with patch.applied(lm):
            assert torch.equal(logits_at(lm, [ids], [range(len(ids))], [3]), before)
    for spec in (steer(), steer(operation="ablate"), ProjectOut(type="project_out", layers=(0,), rank=1)):
        none = made(lm, spec).scaled(0.0)
        assert none is not None
        with none.applied(lm):
            assert torch.equal(logits_at(lm, [ids], [range(len(ids))], [3]), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_steered_too(dtype: torch.dtype) -> None:
    lm = tiny("llama", dtype=dtype)
    ids = encode_prompt(lm, "how to do")
    before = logits_at(lm, [ids], [[2]], [3])
    for spec in (
        steer(strength=4.0, where="all"),
        steer(operation="ablate"),
        act_add(strength=4.0),
        LmSteer(type="lm_steer", rank=2, steps=5, strength=1000.0),
        ProjectOut(type="project_out", layers=(0,), rank=1),
    ):
        patch = made(lm, spec)
        assert all(tensor.dtype == torch.float32 for tensor in patch.tensors().values())
        with patch.applied(lm):
            after = logits_at(lm, [ids], [[2]], [3])
        assert not torch.equal(after, before)
        assert after.isfinite().all()
