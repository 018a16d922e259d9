"""The protocols that find circuits and compare them: on the small model of the toy world."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchwright.adapters.circuits.change.run import run as run_change
from benchwright.adapters.circuits.exhibits import graph_exhibit
from benchwright.adapters.circuits.items import Question
from benchwright.adapters.circuits.metrics import MODEL, at_size
from benchwright.adapters.circuits.pairing import Paired
from benchwright.adapters.circuits.run import at_most, by_relation, run, split
from benchwright.adapters.circuits.stable import jaccard, stability
from benchwright.adapters.lm.graph.nodes import Graph
from benchwright.adapters.lm.graph.pairs import Pair
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.worlds.params import World
from benchwright.api import library
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import DataError
from benchwright.job import Job, Part
from benchwright.loading.resolve import resolve

CPU = Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere")))
SIZES = (0.02, 0.2, 1.0)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return World(type="world", name="atlas-small").open(CPU)


def job_of(lm: LanguageModel, tmp_path: Path, method: str, task: str = "atlas-small-circuit", **fields: Any) -> Job:
    """A cell of a shipped task, its protocol changed in some fields."""
    known = library([])
    of_task = resolve(known, known.get("task", task)).spec
    if task == "atlas-small-circuit":
        fields = {"sizes": SIZES, "subsets": 2, "edges": 5, "pairs": 6} | fields
    of_task = of_task.model_copy(update={"protocol": of_task.protocol.model_copy(update=fields)})
    of_method = resolve(known, known.get("method", method), ("atlas-small",)).spec
    return Job(of_task, of_method, 0, None, {"subject": lm}, {"subject": "s"}, {}, ArtifactStore(tmp_path))


def columns(part: Part, metric: str) -> dict[str, float]:
    return {r["item"]: r["value"] for r in part.records if r["metric"] == metric and "at" not in r}


def test_all_edges_are_the_model_and_every_pair_has_every_column(lm: LanguageModel, tmp_path: Path) -> None:
    job = job_of(lm, tmp_path, "eap")
    (part,) = run(job.task.protocol, job)
    model, whole = columns(part, MODEL), columns(part, at_size(1.0))
    assert len(model) == 6
    assert whole == pytest.approx(model, abs=1e-4)
    for metric in job.task.protocol.metrics():
        assert all(any(r["metric"] == c for r in part.records) for c in metric.inputs), metric.id
    assert lm.verify() == []


def test_a_circuit_is_judged_on_subjects_that_it_was_not_found_on(lm: LanguageModel, tmp_path: Path) -> None:
    job = job_of(lm, tmp_path, "eap", pairs=None)
    (part,) = run(job.task.protocol, job)
    subjects = {q.id: q.subject for q in job.items()}
    judged = {subjects[i] for i in columns(part, "hit10.circuit")}
    found_on = {subjects[i] for i in columns(part, "hit10.circuit.discovery")}
    assert judged
    assert found_on
    assert not judged & found_on


def test_the_same_pairs_can_do_both() -> None:
    questions = [Question(str(i), f"{i} is", ("x",), subject=str(i % 3)) for i in range(9)]
    assert split(questions, 0) == (questions, questions)
    first, second = split(questions, 0.5)
    assert sorted(q.id for q in first + second) == [q.id for q in questions]


def test_the_split_of_a_subject_depends_on_nothing_else() -> None:
    questions = [Question(str(i), f"{i} is", ("x",), subject=f"s{i}") for i in range(40)]
    chosen = {q.subject for q in split(questions, 0.5)[0]}
    fewer = questions[::3]
    assert {q.subject for q in split(fewer, 0.5)[0]} == chosen & {q.subject for q in fewer}


def test_each_relation_has_a_part_and_a_circuit_of_its_own(lm: LanguageModel, tmp_path: Path) -> None:
    job = job_of(lm, tmp_path, "eap", circuits="by_relation")
    parts = list(run(job.task.protocol, job))
    assert len(parts) == len(by_relation(job.items())) == 1
    assert [i for i in columns(parts[0], "edges")] == ["born_in:circuit"]
    assert {m.id for m in job.task.protocol.metrics()} >= {"hit10.circuit", "hit10.circuit.relation"}
    # A part that an earlier attempt finished is not run again.
    job.finished = {parts[0].name: None}
    assert list(run(job.task.protocol, job)) == []


def test_a_method_with_a_circuit_of_its_own_is_judged_by_that(lm: LanguageModel, tmp_path: Path) -> None:
    job = job_of(lm, tmp_path, "eap")
    algorithm = job.method.algorithm
    selector = {"type": "threshold", "by": "magnitude", "threshold": 0.5}
    own = type(algorithm).model_validate(algorithm.model_dump() | {"selector": selector, "prune": False})
    job.method = job.method.model_copy(update={"algorithm": own})
    (part,) = run(job.task.protocol, job)
    weights = {
        (e["source"], e["target"], e.get("kind")): abs(e["weight"]) for e in part.exhibits["0000-circuit"]["edges"]
    }
    assert columns(part, "edges")[":circuit"] > 0
    assert min(weights.values()) >= 0.5 - 1e-3
    # None is missing: a circuit of all edges has no more of that size.
    job = job_of(lm, tmp_path, "eap", size=1.0)
    (whole,) = run(job.task.protocol, job)
    every = {
        (e["source"], e["target"], e.get("kind")): abs(e["weight"]) for e in whole.exhibits["0000-circuit"]["edges"]
    }
    assert {e for e, weight in every.items() if weight >= 0.5} == set(weights)


def test_questions_that_cannot_be_asked_are_an_error_that_says_so(lm: LanguageModel, tmp_path: Path) -> None:
    job = job_of(lm, tmp_path, "eap")
    job.limit = 1
    with pytest.raises(DataError, match="too few questions"):
        list(run(job.task.protocol, job))


def test_names_of_relations_may_be_any_text(lm: LanguageModel, tmp_path: Path) -> None:
    job = job_of(lm, tmp_path, "eap", circuits="by_relation", discovery=0.0)
    names = {True: "born in / né à", False: ""}
    questions = [replace(q, relation=names[i < 12]) for i, q in enumerate(job.items())]
    job.items = lambda: questions  # type: ignore[method-assign]
    parts = list(run(job.task.protocol, job))
    assert [set(columns(p, "edges")) for p in parts] == [{"born in / né à:circuit"}, {":circuit"}]
    assert all(re.fullmatch(r"[\w.-]+", name) for part in parts for name in part.exhibits)


def test_some_pairs_are_of_all_relations() -> None:
    questions = [Question(str(i), "", ("x",), relation="ab"[i // 50]) for i in range(100)]
    pairs = [Pair(q.id, (1, 2), (2, 1), (3,), (4,)) for q in questions]
    found = at_most(20, Paired(pairs, questions, {"z": "why"}))
    assert [p.id for p in found.pairs] == [q.id for q in found.questions]
    assert {q.relation for q in found.questions} == {"a", "b"}
    assert len(found.pairs) == 20
    assert len(found.skipped) == 81


def test_jaccard_by_hand() -> None:
    first, second = np.array([True, True, False]), np.array([False, True, True])
    assert jaccard(first, second) == pytest.approx(1 / 3)
    assert jaccard(first, first) == 1
    assert jaccard(first & ~first, first & ~first) == 1


def test_scores_that_agree_on_all_pairs_are_stable(lm: LanguageModel, tmp_path: Path) -> None:
    """With the same scores for every pair each bootstrap sample gives the same circuit; with noise it does not."""
    from benchwright.adapters.circuits.analysis import Attribution, Study

    job = job_of(lm, tmp_path, "eap")
    analyzer, graph = job.method.algorithm, Graph(2, 2, 2)
    rng = np.random.default_rng(0)
    row = rng.normal(size=(1, len(graph.edges))).astype(np.float32)
    study = Study(None, [None] * 6, None, "patching", 1, lambda purpose: np.random.default_rng(1))  # type: ignore[arg-type,list-item]
    for scores, stable in ((np.repeat(row, 6, 0), True), (rng.normal(size=(6, len(graph.edges))), False)):
        attribution = Attribution(graph, "edge", scores.astype(np.float32))
        dead = np.zeros_like(scores, dtype=np.float32)
        dead[:, [i for i, name in enumerate(graph.names()) if name in ("a0.h0->a1.h0<q>", "a0.h1->a1.h0<k>")]] = -1
        found = stability(job.task.protocol.stability, analyzer, study, attribution, 40)
        if stable:
            assert found == 1
        else:
            assert found is not None
            assert 0 < found < 1
        none = job.task.protocol.stability.model_copy(update={"samples": 1})
        assert stability(none, analyzer, study, attribution, 40) is None
        # Edges that lead nowhere are pruned: no circuits are alike in nothing.
        assert stability(job.task.protocol.stability, analyzer, study, replace(attribution, by_pair=dead), 2) is None


def test_a_picture_leads_a_shared_key_to_every_head_that_shares_it() -> None:
    graph = Graph(1, 4, 2)
    mask = graph.mask(["input->a0.kv1<k>", "a0.h2->logits", "input->m0", "m0->logits"])
    picture = graph_exhibit("t", graph, mask, np.where(mask, -1.0, 0.0))
    ends = {(e["source"], e["target"], e.get("kind", "")) for e in picture["edges"]}
    assert {("input", "a0.h2", "k"), ("input", "a0.h3", "k"), ("input", "m0", "")} <= ends
    assert {n["id"]: n["layer"] for n in picture["nodes"]} == {
        **{"input": -1, "a0.h2": 0, "a0.h3": 0, "m0": 0},
        "logits": 1,
    }


def test_no_edit_changes_no_circuit_and_an_edit_does(lm: LanguageModel, tmp_path: Path) -> None:
    for editor in ("unedited", "ft-m", "ice"):
        job = job_of(lm, tmp_path, editor, "atlas-circuit-change", requests=12)
        parts = list(run_change(job.task.protocol, job))
        same, edited = (
            [v for p in parts for v in columns(p, m).values()] for m in ("turnover.same_question", "edited")
        )
        assert len(same) == len(edited) > 3
        assert lm.verify() == []
        if editor == "unedited":
            assert set(same) == {0.0}
            assert set(edited) == {0.0}
        else:
            assert np.mean(same) > 0.05
            assert np.mean(edited) > (0.8 if editor == "ft-m" else 0.3), editor


def test_every_request_is_compared_or_counted(lm: LanguageModel, tmp_path: Path) -> None:
    job = job_of(lm, tmp_path, "unedited", "atlas-circuit-change", requests=6)
    rows = [row for part in run_change(job.task.protocol, job) for row in part.items]
    assert {row["item"] for row in rows} == {case.request.id for case in job.items()[:6]}
