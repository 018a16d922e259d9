"""SERAC: its classifier's loss and decisions, what it learns from, and that nobody else notices."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchwright.adapters.lm import scope
from benchwright.adapters.lm.interventions.memory.serac import training
from benchwright.adapters.lm.interventions.memory.serac.params import ScopeTraining, Sentence, Serac, Words
from benchwright.adapters.lm.interventions.memory.serac.training import examples, scope_loss, trained
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.recall import Fact
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scope import Features, Scoped
from benchwright.artifacts import ArtifactStore
from benchwright.errors import Skip
from benchwright.job import Job


def requests(subjects: str) -> list[EditRequest]:
    """Two sentences on the capital of each country; its river is to stay."""
    sentences = "The capital of {} is", "{} has its seat of government in"
    return [
        EditRequest(s, text.format(s), s, f"{s}ville", keep=((f"The river of {s} is called", "Thames"),))
        for s in subjects.split()
        for text in sentences
    ]


TRAINING = requests("Aland Borland Cerland Dorland Erland Forland Garland Harland Irland Jorland Korland Lurland")
NEW = requests("Vorland Worland Xorland")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    none: Any = None
    return Job(none, none, 0, None, {}, {}, {}, ArtifactStore(tmp_path), training=TRAINING)


def serac(**fields: Any) -> Serac:
    small = {"encoder": Words(places=2048), "width": 16, "training": ScopeTraining(steps=60, batch=12, lr=0.05)}
    return Serac(type="serac", **{**small, **fields})


def scoped(*at: float, weight: float = 1.0) -> Scoped:
    """Facts whose φ is on a line: as many words as the number says."""
    facts = tuple(Fact("a " * int(x), "s", f"[{x:g}] ") for x in at)
    return Scoped(facts, Features(size=1), np.array([[weight]], dtype=np.float32))


def test_the_nearest_fact_is_told_where_its_probability_reaches_the_threshold() -> None:
    memory = scoped(1, 4, weight=0.8)
    assert memory.probabilities("a a").tolist() == pytest.approx([math.exp(-0.64), math.exp(-2.56)])
    assert memory.prompt("a a") == "[1] a a"
    assert memory.prompt("a a a a") == "[4] a a a a"
    assert scoped(1, 4).prompt("a a") == "a a"  # exp(-1) < 0.5
    assert dataclasses.replace(scoped(1, 4), threshold=0.3).prompt("a a a") == "[4] a a a"
    assert scoped(2, 2, 9).prompt("a a") == "[2] a a"
    asks = dataclasses.replace(memory, question="Q: {question}")
    assert (asks.prompt("a"), asks.prompt("a " * 9)) == ("[1] Q: a", "a " * 9)


def test_of_equally_near_facts_the_later_one_is_told() -> None:
    facts = (Fact("a", "s", "old. "), Fact("a", "s", "new. "))
    assert dataclasses.replace(scoped(1), facts=facts).prompt("a") == "new. a"


def test_the_loss_is_binary_cross_entropy() -> None:
    squares = torch.tensor([0.3, 2.0, 0.0], requires_grad=True)
    loss = scope_loss(squares, torch.tensor([True, False, False]))
    g = [math.exp(-0.3), math.exp(-2.0), math.exp(-1e-6)]
    assert loss.item() == pytest.approx(-(math.log(g[0]) + math.log(1 - g[1]) + math.log(1 - g[2])) / 3, rel=1e-4)
    loss.backward()
    assert squares.grad is not None
    assert squares.grad[:2].tolist() == pytest.approx([1 / 3, -g[1] / (1 - g[1]) / 3])
    assert torch.isfinite(squares.grad).all()


def test_what_is_in_scope_are_the_other_prompts_of_the_fact() -> None:
    (first, second, *_) = examples([*TRAINING, EditRequest("z", "Alone is", "Alone", "here")])
    assert first.inside == (second.prompt,)
    assert first.kept == ("The river of Aland is called",)
    assert len(examples(TRAINING)) == 24
    # A kept prompt of the fact itself is in its scope.
    own = dataclasses.replace(TRAINING[0], keep=((TRAINING[1].prompt, "x"),))
    assert examples([own, TRAINING[1]])[0].kept == ()


def test_the_classifier_knows_the_scope_of_subjects_that_it_never_saw(job: Job) -> None:
    method, lm = serac(), Any
    method.prepare(lm, job)  # type: ignore[arg-type]
    stored = NEW[::2]
    patch, state = method.apply(lm, stored, None, job)  # type: ignore[arg-type]
    assert (dict(patch.deltas), dict(patch.inserts)) == ({}, {})
    for request in NEW:  # in either sentence
        assert (
            patch.prompt(request.prompt) == f"The capital of {request.subject} is {request.target_new} {request.prompt}"
        )
    for other in (*(r.keep[0][0] for r in NEW), *(r.prompt for r in requests("Yorland Zorland"))):
        assert patch.prompt(other) == other
    # One by one and from a file it is the same memory; a fact that comes again replaces what was stored.
    one, memory = method.apply(lm, stored[:1], None, job)  # type: ignore[arg-type]
    rest, again = method.apply(lm, stored[1:], memory, job)  # type: ignore[arg-type]
    assert (rest.digest(), one.digest() != rest.digest()) == (patch.digest(), True)
    assert state is not None
    assert again is not None
    assert torch.equal(state["facts"], again["facts"])
    changed = dataclasses.replace(stored[0], target_new="Rome")
    later, _ = method.apply(lm, [changed], memory, job)  # type: ignore[arg-type]
    assert later.prompt(changed.prompt).startswith("The capital of Vorland is Rome ")


def test_a_saved_patch_decides_alike(job: Job, tmp_path: Path) -> None:
    patch, _ = serac().apply(Any, NEW[:1], None, job)  # type: ignore[arg-type]
    patch.save(tmp_path / "patch.safetensors")
    again = Patch.load(tmp_path / "patch.safetensors")
    assert again.digest() == patch.digest()
    assert isinstance(patch.prompts, Scoped)
    assert isinstance(again.prompts, Scoped)
    for request in NEW:
        probabilities = (p.probabilities(request.prompt).tolist() for p in (patch.prompts, again.prompts))
        assert len({tuple(p) for p in probabilities}) == 1


def test_training_is_an_artifact_of_seed_data_and_options(job: Job, tmp_path: Path) -> None:
    method = serac(training=ScopeTraining(steps=2))
    first = trained(method, job)
    assert np.array_equal(trained(method, job), first)
    elsewhere = dataclasses.replace(job, artifacts=ArtifactStore(tmp_path / "other"))
    assert np.array_equal(trained(method, elsewhere), first)
    for other in (dataclasses.replace(job, seed=1), dataclasses.replace(job, training=TRAINING[2:])):
        assert not np.array_equal(trained(method, other), first)
    with pytest.raises(Skip, match="the task offers none"):
        trained(method, dataclasses.replace(job, training=()))
    with pytest.raises(Skip, match="several prompts for one fact"):
        trained(method, dataclasses.replace(job, training=TRAINING[::2]))


def test_a_pretrained_encoder_s_vectors_can_stand_for_the_words(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embedding(text: str, model: str) -> np.ndarray:
        assert model == str(tmp_path)
        found = np.array([text.count(letter) + 0.1 for letter in "aeiou"])
        return found / np.linalg.norm(found)

    for module in (scope, training):
        monkeypatch.setattr(module, "embedding", embedding)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    given = dataclasses.replace(job, files={"algorithm": {"encoder.weights": tmp_path / "model.safetensors"}})
    method = serac(encoder=Sentence(type="sentence", weights="model.safetensors"), training=ScopeTraining(steps=1))
    patch, _ = method.apply(Any, NEW[:1], None, given)  # type: ignore[arg-type]
    assert isinstance(patch.prompts, Scoped)
    assert patch.prompts.weight.shape == (5, 16)
    phi = [embedding(t, str(tmp_path)) @ patch.prompts.weight for t in (NEW[0].prompt, NEW[1].prompt)]
    wanted = math.exp(-float(np.square(phi[0] - phi[1]).sum()))
    assert float(patch.prompts.probabilities(NEW[1].prompt)[0]) == pytest.approx(wanted, rel=1e-5)
