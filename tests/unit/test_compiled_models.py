"""Models whose circuit is compiled into the weights: reproducible, right, and wired as they say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchwright.adapters.circuits.analysis import Study
from benchwright.adapters.circuits.evaluate import circuit_values, model_values
from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.params import LogitDifference
from benchwright.adapters.lm.scoring import encode, encode_prompt
from benchwright.adapters.worlds.compiled.circuit import graph_of, placed
from benchwright.adapters.worlds.compiled.design import DESIGNS, Design
from benchwright.adapters.worlds.compiled.facts import Facts
from benchwright.adapters.worlds.compiled.features import directions, stream_of
from benchwright.adapters.worlds.compiled.making import CompiledModel, make
from benchwright.adapters.worlds.params import Compiled
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import ModelError

SEEDS = range(3)


def digest(made: CompiledModel) -> str:
    found = hashlib.sha256()
    for name, value in sorted(made.lm.model.state_dict().items()):
        found.update(name.encode() + value.numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", DESIGNS)
def test_the_same_design_and_seed_give_the_same_bytes(name: str) -> None:
    torch.manual_seed(1)
    first = make(DESIGNS[name], 0)
    torch.manual_seed(2)
    second, other = make(DESIGNS[name], 0), make(DESIGNS[name], 1)
    assert digest(first) == digest(second) != digest(other)
    assert first.pairs == second.pairs
    assert first.circuit == second.circuit


@pytest.mark.parametrize("name", DESIGNS)
def test_each_seed_that_a_task_may_ask_for_gives_a_model(name: str) -> None:
    assert all(make(DESIGNS[name], seed).margin > 1 for seed in range(20))


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_question_is_answered_rightly(name: str, seed: int) -> None:
    made = make(DESIGNS[name], seed)
    for pair in made.pairs:
        with torch.no_grad():
            clean, corrupt = made.lm.model(torch.tensor([pair.clean, pair.corrupt])).logits[:, -1].argmax(-1).tolist()
        assert ((clean,), (corrupt,)) == (pair.answer, pair.wrong)
    assert made.margin > 3


@pytest.mark.parametrize("name", DESIGNS)
def test_every_causal_edge_matters_and_no_other(name: str) -> None:
    """Each edge of the model is ablated alone."""
    made = make(DESIGNS[name], 0)
    wiring = wiring_of(made.lm)
    graph = wiring.graph
    assert graph == graph_of(DESIGNS[name])
    assert made.circuit.causal < made.circuit.wiring <= set(graph.names())
    target = LogitDifference(type="logit_difference")
    study = Study(wiring, made.pairs[::2], target, "patching", 256, lambda purpose: np.random.default_rng(0))
    masks = np.repeat(graph.allowed[None], len(graph.edges), 0)
    masks[np.arange(len(graph.edges)), graph.edges[:, 0], graph.edges[:, 1]] = False
    changes = circuit_values(study, list(masks)).values.mean(1) - model_values(study).values.mean()
    matters = {edge for edge, change in zip(graph.names(), changes, strict=True) if abs(change) > 0.5}
    assert matters == made.circuit.causal
    woken = {
        f"a{mover[0]}.h{mover[1]}->a{backup[0]}.h{backup[1]}<q>"
        for mover, backup in zip(made.circuit.movers, made.circuit.backups, strict=False)
    }
    assert {edge for edge, change in zip(graph.names(), changes, strict=True) if change > 0.5} == woken
    assert made.lm.verify() == []


@pytest.mark.parametrize("name", DESIGNS)
def test_the_wiring_alone_is_enough(name: str) -> None:
    """What the construction uses does the work without all else."""
    made = make(DESIGNS[name], 0)
    wiring = wiring_of(made.lm)
    target = LogitDifference(type="logit_difference")
    study = Study(wiring, made.pairs, target, "patching", 64, lambda purpose: np.random.default_rng(0))
    (kept,) = circuit_values(study, [wiring.graph.mask(made.circuit.wiring)]).values
    (whole,) = model_values(study).values
    assert abs(kept.mean() / whole.mean() - 1) < 0.05


def test_the_plain_design_is_the_one_of_the_fixture() -> None:
    made = make(DESIGNS["plain"], 0)
    graph = graph_of(DESIGNS["plain"])
    assert (len(graph.edges), len(made.circuit.causal), len(made.circuit.wiring)) == (262, 8, 14)
    assert sorted(made.circuit.types.values()) == ["memory", "mover head", "mover head", "relation head"]


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("seed", SEEDS)
def test_parts_sit_behind_what_they_read_and_apart(name: str, seed: int) -> None:
    design, circuit = DESIGNS[name], placed(DESIGNS[name], seed)
    heads = [circuit.relation, *circuit.movers, *circuit.backups]
    assert len(set(heads)) == len(heads) == 1 + design.relations * (1 + design.backup)
    assert len(circuit.types) == len(heads) + 1
    graph_of(design).mask(circuit.wiring)  # all of them exist


def test_places_and_facts_change_with_the_seed() -> None:
    deep = DESIGNS["deep"]
    assert len({placed(deep, seed) for seed in range(20)}) > 15
    assert len({Facts(deep, seed).table for seed in range(20)}) == 20


@pytest.mark.parametrize("name", DESIGNS)
def test_counterparts_exchange_both_words_and_change_the_answer(name: str) -> None:
    facts = Facts(DESIGNS[name], 0)
    assert 30 <= len(facts.counterparts) <= 56
    for clean, corrupt in facts.counterparts:
        assert clean.relation != corrupt.relation
        for row in (facts.table[clean.relation], facts.table[corrupt.relation]):
            assert row[clean.subject] != row[corrupt.subject]


@pytest.mark.parametrize("superposition", [0.0, 0.5, 0.9, 1.1, 1.5])
def test_features_are_unit_vectors_without_a_mean(superposition: float) -> None:
    design = Design(superposition=superposition, heads=2)
    found = directions(design, 3)
    assert np.allclose(found.sum(1), 0)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    overlap = np.abs(found @ found.T - np.eye(len(found))).max()
    if design.features < design.width:
        assert overlap < 1e-12
    else:
        assert overlap > 0.05


def test_overlapping_features_that_meet_are_told_apart() -> None:
    stream = stream_of(DESIGNS["superposed"], 0)
    read, written = stream.in_question, stream.written
    assert np.allclose(read.subject_words @ written.subject_words.T, np.eye(8))
    assert np.allclose(read.subject_words @ np.concatenate(written.known).T, 0)
    assert np.allclose(np.concatenate(stream.at_end.said) @ written.asked.T, 0)
    assert np.abs(read.subject_words @ np.concatenate(written.said).T).max() > 0.02  # that never meet


def test_a_design_without_room_or_with_too_much_noise_is_refused() -> None:
    for fields, reason in (
        ({"heads": 2, "relations": 4}, "may come into one block"),
        ({"heads": 4, "relations": 3, "backup": True}, "may come into one block"),
        ({"neurons": 8, "subjects": 16}, "as many neurons"),
        ({"heads": 8, "superposition": 1.5}, "cannot carry 8 attributes"),
    ):
        with pytest.raises(ValidationError, match=reason):
            Design(**fields)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="choose less noise"):
        make(Design(noise=2.0), 0)


def test_the_source_opens_it_with_a_tokenizer(tmp_path: Path) -> None:
    source = Compiled(type="compiled", seed=1, relations=3)
    lm = source.open(Opening("cpu", "float32", 1, "", ArtifactStore(tmp_path)))
    facts = Facts(Design(relations=3), 1)
    assert encode_prompt(lm, "capital S3 is") == facts.prompt(facts.questions[3])
    answer = facts.attributes(0)[facts.table[0][3]]
    assert encode(lm, "capital S3 is", answer).target == (facts.answer(facts.questions[3]),)
    assert source.fingerprint(str) != Compiled(type="compiled", relations=3).fingerprint(str)
    assert lm.verify() == []
