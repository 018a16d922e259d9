"""MEND: token gradients, the identity it starts from, and that training makes edits that hold elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_fixtures
import numpy as np
import pytest
import torch

from benchwright.adapters.editing.sources.world import world_cases
from benchwright.adapters.lm.architecture import linear
from benchwright.adapters.lm.forward import logits_at
from benchwright.adapters.lm.interventions.hypernetwork import mend as edits
from benchwright.adapters.lm.interventions.hypernetwork.gradients import (
    Factors,
    TokenGradients,
    token_gradients,
)
from benchwright.adapters.lm.interventions.hypernetwork.mend import LOSSES, projections
from benchwright.adapters.lm.interventions.hypernetwork.network import EPSILON, Hypernetwork, untrained
from benchwright.adapters.lm.interventions.hypernetwork.params import Mend
from benchwright.adapters.lm.interventions.hypernetwork.training import Task, examples, outer_losses
from benchwright.adapters.lm.losses import Targets
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import LowRank, Patch, dense, stacked
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, Unusable, encode, forced
from benchwright.adapters.worlds.knowledge.world import World, load_world
from benchwright.adapters.worlds.params import World as Source
from benchwright.adapters.worlds.shipped import shipped
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import ModelError, Skip
from benchwright.job import Job, rng

tiny = lm_fixtures.tiny

KEPT = (("Rain falls in", "Ost"), ("Salt is", "white"))
REQUESTS = [
    EditRequest("0", "The capital of Vorland is", "Vorland", "Oslo", keep=KEPT),
    EditRequest("1", "Of Vorland the capital is", "Vorland", "Oslo", keep=KEPT[:1]),
    EditRequest("2", "Mira plays the", "Mira", "horn"),
]
FAMILIES = ("gpt2", "gptj", "gpt_neox", "opt", "llama", "gemma2", "phi3")

Jobs = Callable[..., Job]


def mend(steps: int = 3, batch_size: int = 16, **fields: Any) -> Mend:
    training = {"steps": steps, "batch": 3, "lr": 1e-4, **fields.pop("training", {})}
    return Mend(type="mend", **{"rank": 8, **fields}, training=training, batch_size=batch_size)


@pytest.fixture
def job_of(tmp_path: Path) -> Jobs:
    def make(subject: str, training: Sequence[EditRequest] = REQUESTS, seed: int = 0) -> Job:
        none: Any = None
        job = Job(none, none, seed, None, {}, {"subject": subject}, {}, ArtifactStore(tmp_path / "artifacts"))
        job.training = training
        return job

    return make


def rows_of(lm: LanguageModel, requests: Sequence[EditRequest] = REQUESTS) -> list[Row]:
    return [encode(lm, r.prompt, r.target_new) for r in requests]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokens_outer_products_add_up_to_the_gradient_of_the_weight(family: str) -> None:
    lm = tiny(family)
    rows = rows_of(lm)
    weights, start = projections(mend(), lm)
    assert start == 0
    roles = ["mlp_up", "mlp_gate", "mlp_down"] if family in ("llama", "gemma2") else ["mlp_up", "mlp_down"]
    assert [p.name for p in weights] == [linear(lm.model, layer, role).name for layer in (0, 1) for role in roles]
    found, nll = token_gradients(lm, rows, weights)
    assert lm.verify() == []
    for number, row in enumerate(rows):
        free = {p.weight_name: p.module.weight.detach().clone().requires_grad_() for p in weights}
        loss = Targets(lm, [row]).nll(weights=free).sum()
        assert nll[number] == pytest.approx(loss.item(), abs=1e-5)
        for projection, expected, tokens in zip(
            weights, torch.autograd.grad(loss, list(free.values())), found, strict=True
        ):
            inputs, outputs = (t.split(tokens.counts)[number] for t in (tokens.inputs, tokens.outputs))
            gradient = projection.stored(outputs.T @ inputs)
            assert torch.allclose(gradient, expected, atol=1e-6 + 1e-4 * float(expected.abs().max())), projection.name


def test_tokens_without_a_gradient_are_left_out() -> None:
    """In the last block a token's output speaks of what follows it alone: the prompt's have no gradient there."""
    lm = tiny("llama")
    rows = rows_of(lm)
    weights, _ = projections(mend(), lm)
    found, _ = token_gradients(lm, rows, weights)
    assert all(tokens.counts == tuple(len(row.ids) - 1 for row in rows) for tokens in found[:3])
    assert all(tokens.counts == tuple(len(row.target) for row in rows) for tokens in found[3:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, job_of: Jobs) -> None:
    usual, half = tiny("llama"), tiny("llama", dtype=dtype)
    weights, _ = projections(mend(), usual)
    expected, _ = token_gradients(usual, rows_of(usual), weights)
    found, _ = token_gradients(half, rows_of(half), projections(mend(), half)[0])
    for one, other in zip(found, expected, strict=True):
        assert one.outputs.dtype == torch.float32
        sums = [t.outputs.T @ t.inputs for t in (one, other)]
        assert (sums[0] - sums[1]).norm() < 0.1 * sums[1].norm()
    patch, _ = mend().apply(half, REQUESTS[2:], None, job_of("half"))
    assert all(dense(d).dtype == torch.float32 and dense(d).isfinite().all() for d in patch.deltas.values())
    assert half.verify() == []


def network(shapes: list[tuple[int, int]], rank: int = 4, rate: float = 0.1) -> Hypernetwork:
    return untrained(shapes, rank, rate, lambda name: rng(0, "mend-network", name), torch.device("cpu"))


def tokens(count: int, shape: tuple[int, int], seed: int = 0) -> TokenGradients:
    torch.manual_seed(seed)
    return TokenGradients(3 * torch.randn(count, shape[1]) + 1, 1e-3 * torch.randn(count, shape[0]), (count,))


def test_the_statistics_are_those_of_all_tokens_whatever_the_batches() -> None:
    shape = (3, 5)
    every = tokens(11, shape)
    made = network([shape, (2, 2), shape])
    for first, last in ((0, 1), (1, 7)):
        part = TokenGradients(every.inputs[first:last], every.outputs[first:last], (last - first,))
        other = tokens(4, (2, 2))
        nothing = TokenGradients(every.inputs[:0], every.outputs[:0], (0,))
        made.observe([part, other, nothing])
    # The first and the third weight have one shape, so their tokens are counted together.
    made.observe([tokens(0, shape), tokens(0, (2, 2)), TokenGradients(every.inputs[7:], every.outputs[7:], (4,))])
    joined = torch.cat([every.inputs, every.outputs], 1).double()
    assert float(made.tensors["3x5.count"]) == 11
    expected = (joined - joined.mean(0)) / (joined.std(0) + EPSILON)
    assert torch.allclose(made.normalised(0, every), expected.float(), atol=1e-5)
    assert torch.equal(made.normalised(0, every), made.normalised(2, every))


def test_what_never_varied_is_not_divided_by() -> None:
    silent = TokenGradients(torch.zeros(4, 2), torch.randn(4, 2), (4,))
    made = network([(2, 2)])
    made.observe([silent])
    fires = TokenGradients(torch.ones(1, 2), torch.zeros(1, 2), (1,))
    assert made.normalised(0, fires)[0, :2].tolist() == [1, 1]


def test_the_untrained_edit_is_a_step_down_the_normalised_gradient() -> None:
    shape = (3, 5)
    made, seen = network([shape, shape], rate=0.25), tokens(9, shape)
    made.observe([seen, tokens(0, shape)])
    factors = made.factors(1, seen)
    normal = made.normalised(1, seen)
    assert torch.allclose(factors.left.T @ factors.right, -0.25 * normal[:, 5:].T @ normal[:, :5], atol=1e-6)
    # The network could not begin to learn if its first gradient were zero, as that of `relu` at 0 is.
    for tensor in made.learned():
        tensor.requires_grad_()
    (made.factors(1, seen).left.sum() + made.factors(1, seen).right.sum()).backward()
    for layer in ("first", "second"):
        gradient = made.tensors[f"3x5.{layer}.u"].grad
        assert gradient is not None
        assert gradient.abs().max() > 0


def test_the_network_is_what_the_paper_says() -> None:
    """Two residual layers z + max(0, s (U V z + b) + o), with the scale and offset of the weight that is edited."""
    shape, generator = (3, 5), torch.Generator().manual_seed(0)
    made, seen = network([shape, shape], rate=0.5), tokens(9, shape)
    made.observe([seen, tokens(0, shape)])
    for tensor in made.learned():
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    z = made.normalised(1, seen)
    for layer in ("first", "second"):
        u, v, b, s, o = (made.tensors[f"3x5.{layer}.{name}"] for name in ("u", "v", "bias", "scale", "offset"))
        inside = torch.stack([s[1] * (u @ (v @ row) + b) + o[1] for row in z])
        z = z + inside.clamp(min=0)
    factors = made.factors(1, seen)
    assert torch.allclose(factors.right, z[:, :5], rtol=1e-4, atol=1e-4)
    assert torch.allclose(factors.left, -0.5 * z[:, 5:], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made.factors(0, seen).left, factors.left)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama"])
def test_the_outer_losses_are_those_of_the_edited_models(family: str) -> None:
    """Rows of one batch, each with its own change, against each change written into the weights."""
    lm = tiny(family)
    rows = rows_of(lm)
    keep = encode(lm, *KEPT[0])
    weights, start = projections(mend(), lm)
    torch.manual_seed(0)
    factors = []
    for p in weights:
        outputs, inputs = p.stored(p.module.weight).shape
        factors.append(Factors(0.05 * torch.randn(7, outputs), torch.randn(7, inputs), (4, 0, 3)))
    given = [Task(rows[0], rows[1], keep), Task(rows[1], rows[0], keep), Task(rows[2], rows[2], None)]
    nll, kl = outer_losses(lm, given, weights, start, factors)
    before = logits_at(lm, [keep.ids], [range(len(keep.ids))], [keep.start - 1]).log_softmax(-1)
    for i, task in enumerate(given):
        deltas = {}
        for p, f in zip(weights, factors, strict=True):
            left, right = f.of_each()[i]
            deltas[p.weight_name] = p.stored(left.T @ right)
        with Patch(deltas).applied(lm):
            assert nll[i].item() == pytest.approx(forced(lm, [task.equivalent], 1)[0].nll, rel=1e-4)
            after = logits_at(lm, [keep.ids], [range(len(keep.ids))], [keep.start - 1]).log_softmax(-1)
        expected = (before.exp() * (before - after)).sum(-1).mean() if task.keep else torch.zeros(())
        assert kl[i].item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-6)
    assert kl[0] > 1e-3
    assert lm.verify() == []


def test_what_an_example_is_made_of() -> None:
    lm = tiny("llama")
    asked = [*REQUESTS, EditRequest("3", "Mira plays the", "Mira", " "), replace(REQUESTS[2], target_new="lute")]
    rows = rows_of(lm)
    found = examples(lm, [*asked, replace(REQUESTS[2], keep=(("a" * 200, "b"), KEPT[1]))])
    assert [e.edit for e in found] == [*rows, encode(lm, "Mira plays the", "lute"), rows[2]]
    assert [e.equivalents for e in found] == [(rows[1],), (rows[0],), (rows[2],), (found[3].edit,), (rows[2],)]
    kept = [encode(lm, *pair) for pair in KEPT]
    assert [e.keep for e in found] == [tuple(kept), (kept[0],), (), (), (kept[1],)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_is_low_rank_stackable_and_leaves_the_model_as_it_was(family: str, job_of: Jobs) -> None:
    lm, spec = tiny(family), mend(edit_lr=1e-3)
    job = job_of(family)
    spec.prepare(lm, job)
    asked = [*REQUESTS, EditRequest("3", "Mira plays the", "Mira", " ")]
    *made, unusable = spec.apply_each(lm, asked, job)
    assert isinstance(unusable, Unusable)
    patches = [patch for patch in made if isinstance(patch, Patch)]
    assert len(patches) == 3
    assert all(patch.stackable for patch in patches)
    rows = rows_of(lm)
    singly = []
    for patch, row in zip(patches, rows, strict=True):
        with patch.applied(lm):
            singly += forced(lm, [row], 1)
        for name, delta in patch.deltas.items():
            assert isinstance(delta, LowRank)
            assert delta.dense().shape == lm.model.get_parameter(name).shape
            assert delta.left.shape[1] <= min(lm.model.get_parameter(name).shape)
    with stacked(lm, patches):
        together = forced(lm, rows, 3, [0, 1, 2])
    assert [f.nll for f in together] == pytest.approx([f.nll for f in singly], abs=1e-4)
    # Several requests: the sum of their edits.
    summed, state = spec.apply(lm, REQUESTS, None, job)
    assert state is None
    for name, delta in summed.deltas.items():
        expected = sum(dense(patch.deltas[name]) for patch in patches)
        assert isinstance(delta, LowRank)
        assert torch.allclose(dense(delta), expected, atol=1e-6)  # type: ignore[arg-type]
        # As many tokens as all requests have, where the weight has room for no more.
        assert delta.left.shape[1] == min(sum(p.deltas[name].left.shape[1] for p in patches), *dense(delta).shape)  # type: ignore[union-attr]
    assert lm.verify() == []


def test_an_edit_starts_from_the_model_as_it_is_now(job_of: Jobs) -> None:
    lm, spec, job = tiny("llama"), mend(edit_lr=1e-3), job_of("llama")
    first, _ = spec.apply(lm, REQUESTS[:1], None, job)
    with first.applied(lm):
        again, _ = spec.apply(lm, REQUESTS[:1], None, job)
    with first.applied(lm):
        now = forced(lm, rows_of(lm)[:1], 1)[0].nll
    assert again.notes["nll"] == pytest.approx([now], abs=1e-4)
    assert again.digest() != first.digest()


def test_training_is_done_once_and_the_same_every_time(
    job_of: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, calls = tiny("llama"), []
    train = edits.train

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return train(*arguments)

    monkeypatch.setattr(edits, "train", counted)
    job = job_of("llama")
    spec = mend()
    spec.prepare(lm, job)
    first, _ = spec.apply(lm, REQUESTS, None, job)
    assert len(calls) == 1
    (stored,) = (tmp_path / "artifacts" / "mend").iterdir()
    arrays = dict(np.load(stored / "value.npz"))
    assert arrays[LOSSES].shape == (3, 2)
    # Another object, rows cut otherwise, another store: one artifact, the same edits.
    with torch.no_grad():
        assert mend(batch_size=2).apply(lm, REQUESTS, None, job_of("llama"))[0].deltas
    assert len(calls) == 1
    anew = replace(job, artifacts=ArtifactStore(tmp_path / "other"))
    assert mend().apply(lm, REQUESTS, None, anew)[0].digest() == first.digest()
    assert len(calls) == 2
    # What it depends on.
    for other, with_job in (
        (mend(), job_of("edited llama")),
        (mend(), job_of("llama", REQUESTS[:2])),
        (mend(), job_of("llama", seed=1)),
        (mend(rank=7), job_of("llama")),
        (mend(layers=(1,)), job_of("llama")),
        (mend(training={"keep_weight": 2.0}), job_of("llama")),
    ):
        before = len(calls)
        other.prepare(lm, with_job)
        assert len(calls) == before + 1
    # One object on another split, or another seed, is not what it was.
    spec.prepare(lm, job_of("llama", REQUESTS[:1]))
    assert spec.apply(lm, REQUESTS, None, job_of("llama", REQUESTS[1:]))[0].digest() != first.digest()
    assert spec.apply(lm, REQUESTS, None, job)[0].digest() == first.digest()


def test_batches_change_nothing_but_float_noise(job_of: Jobs, tmp_path: Path) -> None:
    lm = tiny("llama")
    whole = mend(training={"batch": 5}).apply(lm, REQUESTS, None, job_of("llama"))[0]
    alone = replace(job_of("llama"), artifacts=ArtifactStore(tmp_path / "other"))
    parts = mend(training={"batch": 5}, batch_size=2).apply(lm, REQUESTS, None, alone)[0]
    for name, delta in whole.deltas.items():
        assert (dense(delta) - dense(parts.deltas[name])).norm() < 1e-2 * dense(delta).norm(), name


def test_what_cannot_be_done_is_said(job_of: Jobs) -> None:
    lm = tiny("llama")
    with pytest.raises(Skip, match="learns from a training split, and the task offers none"):
        mend().prepare(lm, job_of("llama", ()))
    with pytest.raises(Skip, match="none of the 1 training requests can be asked"):
        mend().prepare(lm, job_of("llama", [replace(REQUESTS[0], target_new=" ")]))
    with pytest.raises(Skip, match="layer 7 does not exist"):
        mend(layers=(7,)).prepare(lm, job_of("llama"))
    with pytest.raises(ModelError, match="has no mlp_gate"):
        mend(modules=("mlp_gate",)).prepare(tiny("gpt2"), job_of("gpt2"))
    patched = Patch({"lm_head.weight": torch.zeros_like(lm.model.lm_head.weight)}).applied(lm)
    with patched, pytest.raises(RuntimeError, match="call `prepare` before"):
        mend().prepare(lm, job_of("llama"))
    with pytest.raises(RuntimeError, match="gave no number"):
        mend(steps=9, edit_lr=1e30, training={"rate_lr": 1e30}).prepare(lm, job_of("llama"))
    assert lm.verify() == []


def test_the_last_three_blocks_are_edited() -> None:
    names = [p.name for p in projections(mend(), tiny("gpt2", layers=5))[0]]
    assert names == [f"transformer.h.{layer}.mlp.{part}" for layer in (2, 3, 4) for part in ("c_fc", "c_proj")]
    weights, start = projections(mend(layers=(1, 0, 1), modules=("attention_out",)), tiny("llama"))
    assert [p.name for p in weights] == [f"model.layers.{layer}.self_attn.o_proj" for layer in (0, 1)]
    assert start == 0


@pytest.fixture(scope="module")
def atlas() -> LanguageModel:
    return Source(type="world", name="atlas-small").open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("no"))))


def of_split(world: World, split: Any, count: int) -> list[list[EditRequest]]:
    """The first requests of a split, each with its rephrasings; what they keep are the probes of locality."""
    found = []
    for case in world_cases(world, split)[:count]:
        keep = tuple((p.prompt, p.answers[0]) for probes in case.locality.values() for p in probes)
        request = replace(case.request, keep=keep)
        found.append([replace(request, prompt=prompt) for prompt in (request.prompt, *case.rephrases)])
    return found


def test_training_makes_edits_of_unseen_subjects_hold_and_keep(
    atlas: LanguageModel, job_of: Jobs, tmp_path: Path
) -> None:
    world = load_world(shipped("atlas-small") / "world.json")
    training, unseen = of_split(world, "validation", 78), of_split(world, "test", 40)
    assert not {r.subject for some in training for r in some} & {r.subject for some in unseen for r in some}
    job = job_of("atlas-small", [r for some in training for r in some])
    scores, losses, known = [], [], list[Path]()
    # Steps of no size: the same normalisation, and the network that training starts from.
    for steps, lr, rate_lr in ((60, 1e-4, 1e-5), (15, 1e-15, 1e-15)):
        spec = mend(steps, rank=64, edit_lr=2e-4, training={"batch": 8, "lr": lr, "rate_lr": rate_lr})
        patches = spec.apply_each(atlas, [some[0] for some in unseen], job)
        asked = [(i, r.prompt, r.target_new) for i, some in enumerate(unseen) for r in some]
        kept = [(i, *pair) for i, some in enumerate(unseen) for pair in some[0].keep]
        rows = [encode(atlas, prompt, target) for _, prompt, target in (*asked, *kept)]
        before = forced(atlas, rows, 64)
        with stacked(atlas, [p for p in patches if isinstance(p, Patch)]):
            after = forced(atlas, rows, 64, [i for i, *_ in (*asked, *kept)])
        said = [f.tokens == row.target for f, row in zip(after, rows, strict=True)][: len(asked)]
        same = [a.tokens == b.tokens for a, b in zip(after, before, strict=True)][len(asked) :]
        scores.append((np.mean(said), np.mean(same)))
        (folder,) = (f for f in (tmp_path / "artifacts" / "mend").iterdir() if f not in known)
        known.append(folder)
        losses.append(dict(np.load(folder / "value.npz"))[LOSSES][-15:].mean(0))
    assert atlas.verify() == []
    (said, same), (said_at_first, _) = scores
    assert said > said_at_first + 0.3
    assert same > 0.85
    (nll, kl), (nll_at_first, kl_at_first) = losses
    assert 0.1 * nll + kl < 0.5 * (0.1 * nll_at_first + kl_at_first)
