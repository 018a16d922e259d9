"""MALMEN and RLEdit: the values of their least squares, how they learn, and what a trained network is good for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lm_fixtures
import numpy as np
import pytest
import torch

from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.lm.checkpoints import kept, restored
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.interventions.hypernetwork import sequences
from benchwright.adapters.lm.interventions.hypernetwork.artifact import LOSSES
from benchwright.adapters.lm.interventions.hypernetwork.gradients import gathered
from benchwright.adapters.lm.interventions.hypernetwork.least_squares import projections
from benchwright.adapters.lm.interventions.hypernetwork.malmen import change_of
from benchwright.adapters.lm.interventions.hypernetwork.network import BLOCKS, Hypernetwork, untrained
from benchwright.adapters.lm.interventions.hypernetwork.params import Malmen, Site
from benchwright.adapters.lm.interventions.hypernetwork.training import Task, examples, outer_losses
from benchwright.adapters.lm.interventions.hypernetwork.ultraedit import shapes_of
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, encode, forced
from benchwright.adapters.worlds.params import World as Source
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import Skip
from benchwright.job import Job, rng

tiny = lm_fixtures.tiny

KEPT = (("Rain falls in", "Ost"), ("Salt is", "white"))
REQUESTS = [
    EditRequest("0", "The capital of Vorland is", "Vorland", "Oslo", keep=KEPT),
    EditRequest("1", "Of Vorland the capital is", "Vorland", "Oslo", keep=KEPT[:1]),
    EditRequest("2", "Mira plays the", "Mira", "horn", keep=KEPT[1:]),
]
SITES = (Site(module="mlp_down", layers=(0, 1)),)

Jobs = Callable[..., Job]


def malmen(steps: int = 2, **fields: Any) -> Malmen:
    training = {"steps": steps, "batch": 2, "lr": 1e-3, "rate_lr": 1e-3, **fields.pop("training", {})}
    return Malmen(type="malmen", **{"sites": SITES, "rank": 8, "edit_lr": 1e-2, **fields}, training=training)


def network_of(lm: LanguageModel, spec: Malmen) -> Hypernetwork:
    """A network that is not the identity any more."""
    shapes = shapes_of(projections(spec.sites, lm)[0])
    made = untrained(
        shapes, spec.rank, spec.edit_lr, lambda n: rng(0, "network", n), lm.device, BLOCKS[: spec.blocks], "outside"
    )
    made.tensors["penalties"] = torch.tensor([0.3, -0.2])
    generator = torch.Generator().manual_seed(0)
    for tensor in made.learned():
        tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
    return made


@pytest.fixture
def job_of(tmp_path: Path) -> Jobs:
    def make(subject: str, training: Sequence[EditRequest] = REQUESTS, store: str = "artifacts") -> Job:
        none: Any = None
        job = Job(none, none, 0, None, {}, {"subject": subject}, {}, ArtifactStore(tmp_path / store))
        job.training = training
        return job

    return make


def rows_of(lm: LanguageModel, requests: Sequence[EditRequest] = REQUESTS) -> list[Row]:
    return [encode(lm, r.prompt, r.target_new) for r in requests]


def test_the_change_is_the_one_that_does_at_each_token_what_its_own_edit_does() -> None:
    """Of MEND's edit S of one token, S u is the value; the network is z + s · max(0, U V z + b) + o."""
    lm, spec = tiny("llama"), malmen(blocks=3)
    network, (edited, _) = network_of(lm, spec), projections(SITES, lm)
    tokens, _ = gathered(lm, rows_of(lm), edited, "all", 16)
    network.observe(tokens)
    for weight, of_weight in enumerate(tokens):
        z = network.normalised(weight, of_weight)
        for layer in ("first", "second", "third"):
            u, v, b, s, o = (network.tensors[f"32x64.{layer}.{n}"] for n in ("u", "v", "bias", "scale", "offset"))
            z = z + s[weight] * (z @ v.T @ u.T + b).clamp(min=0) + o[weight]
        inputs, outputs = z[:, :64], z[:, 64:]
        own = [-1e-2 * torch.outer(g, k) for k, g in zip(inputs, outputs, strict=True)]
        values = torch.stack([s @ k for s, k in zip(own, of_weight.inputs, strict=True)]).double()
        keys, penalty = of_weight.inputs.double(), network.tensors["penalties"][weight].exp().double()
        expected = torch.linalg.inv(keys.T @ keys + penalty * torch.eye(64)) @ keys.T @ values
        found = change_of(network)(weight, of_weight)
        assert (found.left.T @ found.right - expected.T).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_gradient_joined_at_the_change_is_that_of_the_whole(family: str) -> None:
    """MALMEN differentiates language model and network apart; the cost of an older batch counts less; |S|² too."""
    lm = tiny(family)
    rows, keep = rows_of(lm), encode(lm, *KEPT[0])
    judged = [[Task(rows[0], rows[1], keep), Task(rows[2], rows[2], None)], [Task(rows[1], rows[0], keep)]]
    costs = {"batch": 2, "edit_weight": 0.7, "keep_weight": 0.4, "decay": 0.5, "shift_weight": 0.2}
    spec = malmen(training=costs, batch_size=1)
    edited, start = projections(SITES, lm)
    found = []
    for whole in (True, False):
        network = network_of(lm, spec)
        learned = [
            t.requires_grad_() for t in (*network.learned(), network.tensors["rates"], network.tensors["penalties"])
        ]
        with torch.enable_grad():
            if whole:
                tokens, _ = gathered(lm, [t.edit for t in judged[0]], edited, "answer", 1)
                network.observe(tokens)
                factors = [change_of(network)(weight, of_weight) for weight, of_weight in enumerate(tokens)]
                cost = sum(0.2 * (f.left.T @ f.right).square().sum() for f in factors)
                for weight, tasks in ((1.0, judged[0]), (0.5, judged[1])):
                    nll, kl = outer_losses(lm, tasks, edited, start, factors, shared=True)
                    cost = cost + weight * (0.7 * nll.sum() + 0.4 * kl.sum()) / 2
                torch.as_tensor(cost).backward()
            else:
                sequences._batch(spec, lm, judged, edited, start, network, change_of(network))
        found.append([t.grad for t in learned])
    for expected, gradient in zip(*found, strict=True):
        assert expected is not None
        assert gradient is not None
        assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-5)
    assert all(g.abs().max() > 0 for g in found[0] if g is not None)
    assert lm.verify() == []


def test_what_a_batch_changes_is_not_to_stay() -> None:
    lm, spec = tiny("llama"), malmen()
    rows = rows_of(lm)
    edited, start = projections(SITES, lm)
    told = []
    for keep in (rows[2], None, encode(lm, *KEPT[0])):
        network = network_of(lm, spec)
        judged = [[Task(rows[0], rows[0], keep), Task(rows[2], rows[2], None)]]
        for tensor in network.learned():
            tensor.requires_grad_()
        with torch.enable_grad():
            told.append(sequences._batch(spec, lm, judged, edited, start, network, change_of(network))[1])
    assert told[0].tolist() == told[1].tolist()
    assert told[0][1] == 0 < told[2][1]


def test_a_sequence_is_learned_on_the_models_that_it_makes(job_of: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, seen = tiny("gpt2"), []
    batch = sequences._batch

    def watched(spec: Malmen, model: LanguageModel, judged: Any, *rest: Any) -> Any:
        seen.append(
            (
                model.patched,
                [len(tasks) for tasks in judged],
                float(model.model.transformer.h[0].mlp.c_proj.weight.sum()),
            )
        )
        return batch(spec, model, judged, *rest)

    monkeypatch.setattr(sequences, "_batch", watched)
    spec = malmen(2, training={"sequence": 3, "backtracking": 2, "shift_weight": 1e-4})
    spec.prepare(lm, job_of("gpt2"))
    assert [judged for _, judged, _ in seen] == 2 * [[2], [2, 2], [2, 2]]
    weights = [weight for *_, weight in seen]
    # Each batch meets the model that those before it left; each sequence begins with the untouched one.
    assert weights[0] == weights[3]
    assert len(set(weights)) == 5
    assert lm.verify() == []


@pytest.mark.parametrize("statistics", ["training", "lifelong"])
def test_a_stopped_sequence_goes_on_as_if_it_had_not_been(statistics: Any, job_of: Jobs) -> None:
    lm, spec, job = tiny("llama"), malmen(statistics=statistics), job_of("llama")
    spec.prepare(lm, job)
    (_, first, state), (_, whole, _) = carried_out(lm, spec, REQUESTS, 2, job)
    assert (state is None) == (statistics == "training")
    ((_, again, _),) = carried_out(lm, spec, REQUESTS[2:], 2, job, restored(kept(first, state)))
    assert again.digest() == whole.digest()
    ((_, forgetful, _),) = carried_out(lm, spec, REQUESTS[2:], 2, job, (first, None))
    assert (forgetful.digest() == whole.digest()) == (statistics == "training")
    assert lm.verify() == []


def test_training_is_done_once_and_the_same_every_time(job_of: Jobs, tmp_path: Path) -> None:
    lm = tiny("llama")
    first = malmen().apply(lm, REQUESTS, None, job_of("llama"))[0]
    (stored,) = (tmp_path / "artifacts" / "malmen").iterdir()
    arrays = dict(np.load(stored / "value.npz"))
    assert arrays[LOSSES].shape == (2, 2)
    assert arrays["penalties"].shape == arrays["rates"].shape == (2,)
    assert arrays["penalties"].any()
    again = malmen().apply(lm, REQUESTS, None, job_of("llama", store="other"))[0]
    assert again.digest() == first.digest()
    malmen(batch_size=1).prepare(lm, job_of("llama"))
    assert len(list((tmp_path / "artifacts" / "malmen").iterdir())) == 1
    cut = malmen(batch_size=1).apply(lm, REQUESTS, None, job_of("llama", store="cut"))[0]
    for name, delta in first.deltas.items():
        assert (dense(delta) - dense(cut.deltas[name])).norm() < 1e-2 * dense(delta).norm()
    for other, job in ((malmen(blocks=3), job_of("llama")), (malmen(), job_of("llama", REQUESTS[:2]))):
        before = len(list((tmp_path / "artifacts" / "malmen").iterdir()))
        other.prepare(lm, job)
        assert len(list((tmp_path / "artifacts" / "malmen").iterdir())) == before + 1


def test_what_cannot_be_done_is_said(job_of: Jobs) -> None:
    lm = tiny("llama")
    with pytest.raises(Skip, match="MALMEN learns from a training split, and the task offers none"):
        malmen().prepare(lm, job_of("llama", ()))
    with pytest.raises(RuntimeError, match="gave no number; lower lr or edit_lr"):
        malmen(4, training={"lr": 1e30}).prepare(lm, job_of("llama"))
    patched = Patch({"lm_head.weight": torch.zeros_like(lm.model.lm_head.weight)}).applied(lm)
    with patched, pytest.raises(RuntimeError, match="MALMEN's network learns to edit the untouched model"):
        malmen().prepare(lm, job_of("llama"))


def test_training_makes_joint_edits_of_unseen_subjects_hold_and_keep(job_of: Jobs) -> None:
    source = WorldEdits(type="world_edits", world="atlas-small")
    lm = Source(type="world", name="atlas-small").open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("no"))))
    assert isinstance(lm, LanguageModel)
    cases, training = source.load({}, 20), source.training({})
    assert len(examples(lm, training)) == len(training)
    job, scores = job_of("atlas-small", training), []
    kept_rows = [encode(lm, p.prompt, p.answers[0]) for c in cases for p in c.locality["same_subject"][:2]]
    before = forced(lm, kept_rows, 64)
    for steps, size in ((25, 1.0), (1, 1e-12)):
        rates = {"batch": 10, "lr": 3e-4 * size, "rate_lr": 1e-3 * size, "clip": 100.0}
        layers = (Site(module="mlp_down", layers=(2, 3)),)
        spec = malmen(steps, sites=layers, rank=64, edit_lr=1e-2, training=rates)
        said = same = 0.0
        for start in (0, 10):
            part = cases[start : start + 10]
            patch, _ = spec.apply(lm, [c.request for c in part], None, job)
            with patch.applied(lm):
                for case in part:
                    rows = [encode(lm, p, case.request.target_new) for p in case.rephrases]
                    said += np.mean([f.tokens == r.target for f, r in zip(forced(lm, rows, 64), rows, strict=True)])
                same += np.mean([a.tokens == b.tokens for a, b in zip(forced(lm, kept_rows, 64), before, strict=True)])
        scores.append((said / 20, same / 2))
    assert lm.verify() == []
    (said, same), (_, same_at_first) = scores
    # Untrained, the edits hold, and change the subject's other facts with the one that was asked for.
    assert said > 0.75
    assert same > same_at_first + 0.15
