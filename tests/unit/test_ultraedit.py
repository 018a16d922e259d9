"""UltraEdit: its least squares, its lifelong statistics as the state of a sequence, and which tokens it edits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_fixtures
import numpy as np
import pytest
import torch

from benchwright.adapters.lm.checkpoints import kept, restored
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.forward import recorded
from benchwright.adapters.lm.interventions.hypernetwork.gradients import gathered, token_gradients
from benchwright.adapters.lm.interventions.hypernetwork.least_squares import least_squares, projections
from benchwright.adapters.lm.interventions.hypernetwork.normalisation import EPSILON
from benchwright.adapters.lm.interventions.hypernetwork.params import Site, UltraEdit
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, encode
from benchwright.artifacts import ArtifactStore
from benchwright.errors import Skip
from benchwright.job import Job

tiny = lm_fixtures.tiny

REQUESTS = [
    EditRequest("0", "The capital of Vorland is", "Vorland", "Oslo"),
    EditRequest("1", "Mira plays the", "Mira", "horn"),
    EditRequest("2", "Of all towns Arlo was born in", "Arlo", "Ostby"),
    EditRequest("3", "Bo speaks", "Bo", "Danish"),
]
SITES = (Site(module="mlp_down", layers=(0, 1)),)


def ultraedit(**fields: Any) -> UltraEdit:
    return UltraEdit(type="ultraedit", **{"sites": SITES, "lr": 1e-2, **fields})


@pytest.fixture
def job(tmp_path: Path) -> Job:
    none: Any = None
    return Job(none, none, 0, None, {}, {"subject": "tiny"}, {}, ArtifactStore(tmp_path))


def rows_of(lm: LanguageModel, requests: Sequence[EditRequest] = REQUESTS) -> list[Row]:
    return [encode(lm, r.prompt, r.target_new) for r in requests]


@pytest.mark.parametrize(("tokens", "inputs"), [(4, 9), (9, 9), (25, 9)])
def test_least_squares_is_the_normal_equation_and_the_smallest(tokens: int, inputs: int) -> None:
    torch.manual_seed(0)
    keys, values = torch.randn(tokens, inputs), torch.randn(tokens, 3)
    found = least_squares(keys, values, 0.5)
    change = found.left.T @ found.right
    k, v = keys.double().numpy(), values.double().numpy()
    expected = np.linalg.inv(k.T @ k + 0.5 * np.eye(inputs)) @ k.T @ v
    assert np.allclose(change.T.numpy(), expected, atol=1e-5)
    assert len(found.left) == min(tokens, inputs)

    def cost(s: torch.Tensor) -> float:
        return float(((keys @ s.T - values).square().sum() + 0.5 * s.square().sum()).item())

    assert all(cost(change + 1e-2 * torch.randn_like(change)) > cost(change) for _ in range(5))


@pytest.mark.parametrize("tokens", [4, 25])
def test_least_squares_is_differentiated_as_published(tokens: int) -> None:
    """Of MALMEN's released code: λ has the gradient −⟨(KᵀK + λI)⁻¹ G, S⟩, values K (KᵀK + λI)⁻¹ G."""
    torch.manual_seed(0)
    keys, values, wanted = torch.randn(tokens, 9), torch.randn(tokens, 3, requires_grad=True), torch.randn(9, 3)
    penalty = torch.tensor(0.5, requires_grad=True)
    found = least_squares(keys, values, penalty)
    shift = (found.left.T @ found.right).T
    (shift * wanted).sum().backward()
    solved = torch.linalg.solve(keys.T @ keys + 0.5 * torch.eye(9), wanted)
    assert values.grad is not None
    assert penalty.grad is not None
    assert torch.allclose(values.grad, keys @ solved, atol=1e-5)
    assert penalty.grad.item() == pytest.approx(-(solved * shift).sum().item(), rel=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
@pytest.mark.parametrize("which", ["answer", "all"])
def test_the_tokens_are_those_of_the_answer_or_of_the_prompt_too(family: str, which: Any) -> None:
    lm = tiny(family)
    rows, (edited, _) = rows_of(lm), projections(SITES, lm)
    found, nll = gathered(lm, rows, edited, which, batch_size=2)
    places = [row.places if which == "answer" else range(len(row.ids) - 1) for row in rows]
    # Rows are cut by length, so their order is not that of the requests; each is found by its own pass.
    for weight, projection in enumerate(edited):
        assert len(found[weight].inputs) == sum(map(len, places))
        went_in = recorded(lm, [row.ids[:-1] for row in rows], [projection.name])[projection.name][0]
        for i, row in enumerate(rows):
            of_row, losses = token_gradients(lm, [row], edited, which)
            alone = of_row[weight]
            assert losses == pytest.approx([nll[i]], abs=1e-5)
            assert torch.allclose(alone.inputs, went_in[i, list(places[i])], atol=1e-5)
            near = (found[weight].inputs[:, None] - alone.inputs[None]).abs().amax(-1).amin(0)
            assert near.max() < 1e-5


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_edit_is_the_closed_form_of_all_tokens_so_far(family: str, job: Job) -> None:
    """Two batches: the second is normalised by the tokens of both, on the model that the first one changed."""
    lm, spec = tiny(family), ultraedit(tokens="all")
    edited, _ = projections(SITES, lm)
    state, total, seen = None, Patch(), list[list[Any]]()
    for batch in (REQUESTS[:2], REQUESTS[2:]):
        with total.applied(lm):
            patch, state = spec.apply(lm, batch, state, job)
            alone = [token_gradients(lm, [row], edited, "all")[0] for row in rows_of(lm, batch)]
        seen += alone
        # Both layers have one shape, and so one mean and deviation.
        every = torch.cat([torch.cat([t.inputs, t.outputs], 1) for of_row in seen for t in of_row]).double()
        mean, deviation = every.mean(0), every.std(0)
        for weight, projection in enumerate(edited):
            inputs = torch.cat([of_row[weight].inputs for of_row in alone]).double()
            outputs = torch.cat([of_row[weight].outputs for of_row in alone]).double()
            width = inputs.shape[1]
            h = (inputs - mean[:width]) / (deviation[:width] + EPSILON)
            g = (outputs - mean[width:]) / (deviation[width:] + EPSILON)
            values = -1e-2 * h.square().sum(1, keepdim=True) * g
            shift = torch.linalg.inv(inputs.T @ inputs + torch.eye(width)) @ inputs.T @ values
            delta = projection.stored(dense(patch.deltas[projection.weight_name])).double()
            assert (delta - shift.T).norm() < 1e-3 * shift.norm()
        total = total.then(patch)
    assert lm.verify() == []


def test_a_stopped_sequence_goes_on_as_if_it_had_not_been(job: Job) -> None:
    lm, spec = tiny("llama"), ultraedit()
    steps = list(carried_out(lm, spec, REQUESTS, 2, job))
    (_, first, state), (_, whole, last) = steps
    begun = restored(kept(first, state))
    ((_, again, end),) = carried_out(lm, spec, REQUESTS[2:], 2, job, begun)
    assert again.digest() == whole.digest()
    assert last is not None
    assert end is not None
    assert {n: t.tolist() for n, t in end.items()} == {n: t.tolist() for n, t in last.items()}
    # Without its memory the second batch is another one, and what was given is not changed.
    ((_, forgetful, _),) = carried_out(lm, spec, REQUESTS[2:], 2, job, (first, None))
    assert forgetful.digest() != whole.digest()
    assert lm.verify() == []


def test_the_same_bytes_and_rows_of_one_pass_are_noise(job: Job) -> None:
    lm = tiny("gpt2")
    first, again = (ultraedit().apply(lm, REQUESTS, None, job)[0] for _ in range(2))
    assert first.digest() == again.digest()
    cut = ultraedit(batch_size=1).apply(lm, REQUESTS, None, job)[0]
    for name, delta in first.deltas.items():
        assert (dense(delta) - dense(cut.deltas[name])).norm() < 1e-3 * dense(delta).norm()
    assert cut.notes["nll"] == pytest.approx(first.notes["nll"], abs=1e-5)


def test_edits_alone_know_nothing_of_each_other(job: Job) -> None:
    lm, spec = tiny("llama"), ultraedit()
    made = [p for p in spec.apply_each(lm, REQUESTS[:3], job) if isinstance(p, Patch)]
    assert made[2].digest() == spec.apply(lm, REQUESTS[2:3], None, job)[0].digest()
    assert all(patch.stackable for patch in made)


def test_a_single_token_has_no_deviation_and_is_no_edit(job: Job) -> None:
    lm = tiny("llama")
    one = [EditRequest("0", "Mira plays the ", "Mira", "a")]
    assert len(rows_of(lm, one)[0].places) == 1
    patch, _ = ultraedit(sites=SITES[:1]).apply(lm, one, None, job)
    # Two layers of one shape are two tokens; a single weight has one.
    single, _ = ultraedit(sites=(Site(module="mlp_down", layers=(1,)),)).apply(lm, one, None, job)
    assert all(dense(d).norm() > 0 for d in patch.deltas.values())
    assert all(not dense(d).any() for d in single.deltas.values())


def test_sites_are_projections_of_many_kinds(job: Job) -> None:
    lm = tiny("llama")
    sites = (Site(module="mlp_up", layers=(1,)), Site(module="mlp_gate", layers=(0,)))
    patch, state = ultraedit(sites=sites).apply(lm, REQUESTS, None, job)
    assert list(patch.deltas) == ["model.layers.0.mlp.gate_proj.weight", "model.layers.1.mlp.up_proj.weight"]
    assert state is not None
    assert set(state) == {f"64x32.{what}" for what in ("count", "mean", "squares")}
    with pytest.raises(Skip, match="layer 7 does not exist"):
        ultraedit(sites=(Site(module="mlp_down", layers=(7,)),)).apply(lm, REQUESTS, None, job)
