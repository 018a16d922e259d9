"""Editing of knowledge neurons: what is written, which neurons are kept, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch

from benchwright.adapters.lm.architecture import head, linear
from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.values import last_logits
from benchwright.adapters.lm.inside.neurons import attribution, knowledge_neurons
from benchwright.adapters.lm.interventions.neurons.editing import asked
from benchwright.adapters.lm.interventions.neurons.params import EditNeurons
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch, dense
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Unusable
from benchwright.artifacts import ArtifactStore
from benchwright.job import Job

REQUESTS = [
    EditRequest("a", "The island of Belava exports", "Belava", "amber", "salt"),
    EditRequest("b", "Corena lies in", "Corena", "the north", "the west"),
]
TEMPLATES = ("{}", "Rain fell. {}", "So they said. {}")


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    found: LanguageModel = lm_fixtures.tiny(request.param, layers=2)
    return found


@pytest.fixture
def job(lm: LanguageModel, tmp_path: Path) -> Job:
    none: Any = None
    return Job(none, none, 0, None, {"subject": lm}, {"subject": "it"}, {}, ArtifactStore(tmp_path))


def method(**fields: Any) -> EditNeurons:
    return EditNeurons(type="edit_neurons", context_templates=TEMPLATES, steps=5, **fields)


def test_shared_neurons_write_the_new_answer(lm: LanguageModel, job: Job) -> None:
    algorithm = method(share=0.6, less=1.5, more=4.0)
    patch, state = algorithm.apply(lm, REQUESTS[:1], None, job)
    assert state is None
    question, wiring = asked(lm, REQUESTS[0], TEMPLATES, "paper"), wiring_of(lm)
    votes = sum(
        knowledge_neurons(attribution(wiring, torch.tensor([p]), torch.tensor([question.old]), 5, 8), 0.2)[0].int()
        for p in question.prompts
    )
    assert isinstance(votes, torch.Tensor)
    said = int(last_logits(wiring, torch.tensor([question.prompts[0]])).argmax())
    old, new = (head(lm.model)[1].weight[t].detach() for t in (said, question.new[0]))
    for layer in range(2):
        projection = linear(lm.model, layer, "mlp_down")
        kept = votes[layer] >= 2
        assert bool(kept.any()) == (projection.weight_name in patch.deltas)
        if kept.any():
            change = projection.stored(dense(patch.deltas[projection.weight_name]))
            sizes = projection.stored(projection.module.weight).detach().norm(dim=0) * kept
            expected = (4 * new / new.norm() - 1.5 * old / old.norm())[:, None] * sizes
            assert torch.allclose(change, expected, atol=1e-5)
    assert patch.deltas
    assert lm.verify() == []


def test_requests_are_carried_out_one_after_another(lm: LanguageModel, job: Job) -> None:
    for variant in ("paper", "easyedit"):
        algorithm = method(variant=variant, share=0.6)
        both, _ = algorithm.apply(lm, REQUESTS, None, job)
        first, _ = algorithm.apply(lm, REQUESTS[:1], None, job)
        with first.applied(lm):
            second, _ = algorithm.apply(lm, REQUESTS[1:], None, job)
        assert both.digest() == first.then(second).digest()
        assert both.digest() == algorithm.apply(lm, REQUESTS, None, job)[0].digest()
    assert lm.verify() == []


def test_nothing_is_changed_where_prompts_share_no_neuron(lm: LanguageModel, job: Job) -> None:
    found = method(threshold=0.999, share=1.0).apply(lm, REQUESTS[:1], None, job)[0]
    one = EditNeurons(type="edit_neurons", context_templates=("{}",), steps=5, threshold=0.999)
    assert one.apply(lm, REQUESTS[:1], None, job)[0].deltas
    assert sum(t.count_nonzero() for t in found.tensors().values()) in (0, 32)


def test_contexts_are_sampled_once(lm: LanguageModel, job: Job) -> None:
    algorithm = EditNeurons(type="edit_neurons", context_lengths=(3,), context_beginnings=("I", "You"))
    algorithm.prepare(lm, job)
    templates = algorithm.templates(lm, job)
    assert templates[0] == "{}"
    assert 1 < len(templates) <= 3
    with Patch().applied(lm):
        assert algorithm.templates(lm, job) == templates


def test_the_old_answer_must_be_known(lm: LanguageModel, job: Job) -> None:
    unknown = EditRequest("c", "Corena lies in", "Corena", "the north")
    with pytest.raises(Unusable, match="the old answer is not known"):
        method().check(lm, unknown, job)
    refused, made = method().apply_each(lm, [unknown, REQUESTS[0]], job)
    assert isinstance(refused, Unusable)
    assert isinstance(made, Patch)
