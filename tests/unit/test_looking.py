"""Methods that look inside, and their protocol: known answers, parts, and that nothing depends on chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_fixtures import tiny

from benchwright.adapters.circuits.items import Question
from benchwright.adapters.circuits.looking import Looking, Panel
from benchwright.adapters.circuits.looking.metrics import METRICS
from benchwright.adapters.circuits.looking.params import LookInside
from benchwright.adapters.circuits.looking.run import _unrelated, exhibit, run, span_of
from benchwright.adapters.circuits.methods.looking import (
    CausalTracing,
    DirectLogitAttribution,
    HeadTypes,
    KnowledgeNeurons,
    LogitLens,
    _peak_before_end,
)
from benchwright.adapters.lm.graph.finding import wiring_of
from benchwright.adapters.lm.graph.pairs import Pair
from benchwright.adapters.lm.inside.heads import TYPES, heads, types
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.scoring import Unusable
from benchwright.adapters.worlds.compiled.design import DESIGNS
from benchwright.adapters.worlds.compiled.making import make
from benchwright.artifacts import ArtifactStore
from benchwright.errors import DataError
from benchwright.job import Job, Part
from benchwright.store import Cell

METHODS: dict[str, Looking] = {
    method.type: method
    for method in (
        LogitLens(type="logit_lens"),
        DirectLogitAttribution(type="direct_logit_attribution"),
        CausalTracing(type="causal_tracing", site="mlp", window=2, factor=3.0, samples=2),
        KnowledgeNeurons(type="knowledge_neurons", steps=4, threshold=0.2),
        HeadTypes(type="head_types", attends=0.2, top=10, least=0.1),
    )
}
QUESTIONS = [
    Question(
        f"{relation}-{name}",
        f"{name} {relation}",
        (answer,),
        corrupt=f"{other} {relation}",
        wrongs=(wrong,),
        subject=name,
        relation=relation,
        attributes={"kind": "made up"},
    )
    for relation, rows in {
        "is in": (("Abo", "Ede", "x", "y"), ("Ede", "Abo", "y", "x"), ("Ghent", "Paris", "z", "y")),
        "owns the": (("Ann", "Bob", "q", "r"), ("Bob", "Ann", "r", "q")),
    }.items()
    for name, other, answer, wrong in rows
]


class _Holder:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


def job_of(lm: LanguageModel, method: Looking, questions: Sequence[Question], path: Path, **more: Any) -> Job:
    task: Any = _Holder(data=_Holder(load=lambda files, limit: list(questions)))
    spec: Any = _Holder(algorithm=method)
    return Job(task, spec, 0, None, {"subject": lm}, {}, {}, ArtifactStore(path), **more)


def looked(lm: LanguageModel, name: str, path: Path, questions: Sequence[Question] = QUESTIONS, **fields: Any) -> Any:
    protocol = LookInside(type="look_inside", **fields)
    parts = list(run(protocol, job_of(lm, METHODS[name], questions, path)))
    records = {(r["item"], r["metric"]): r["value"] for part in parts for r in part.records}
    shown = {key: value for part in parts for key, value in part.exhibits.items()}
    return parts, records, shown


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_every_method_gives_defined_columns(name: str, family: str, tmp_path: Path) -> None:
    lm = tiny(family, layers=3)
    parts, records, shown = looked(lm, name, tmp_path)
    columns = {column for metric in METRICS for column in metric.inputs}
    recorded = {column for _, column in records}
    assert {"right", "answer.probability", f"peak.{METHODS[name].type}", "peak.depth"} <= recorded <= columns
    assert [row["item"] for part in parts for row in part.items] == [q.id for q in QUESTIONS]
    assert all(0 <= value < 1 for (_, column), value in records.items() if column == "peak.depth")
    assert shown.keys() == {panel.name for panel in METHODS[name].panels(_Holder(layers=3, heads=4))}  # type: ignore[arg-type]
    assert lm.verify() == []


@pytest.mark.parametrize("name", METHODS)
def test_neither_chunks_nor_batches_matter(name: str, tmp_path: Path) -> None:
    lm = tiny("llama", layers=3)
    _, one, shown_one = looked(lm, name, tmp_path, chunk=1, forward_batch=3)
    _, many, shown_many = looked(lm, name, tmp_path, chunk=32, forward_batch=64)
    assert one.keys() == many.keys()
    assert [one[key] for key in many] == pytest.approx(list(many.values()), abs=1e-5)
    for key, value in shown_many.items():
        for a, b in zip(_numbers(shown_one[key]), _numbers(value), strict=True):
            assert a == pytest.approx(b, abs=1e-5)


def _numbers(data: Any) -> list[float]:
    if isinstance(data, dict):
        return [n for value in data.values() for n in _numbers(value)]
    if isinstance(data, list):
        return [n for value in data for n in _numbers(value)]
    return [data] if isinstance(data, int | float) else []


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    lm = tiny("gpt2", layers=2)
    first, second = (looked(lm, "causal_tracing", tmp_path)[1:] for _ in range(2))
    assert first == second


def test_what_is_finished_is_not_done_again(tmp_path: Path) -> None:
    """The exhibits are then made from the parts' states."""
    lm = tiny("gpt2", layers=2)
    protocol, method = LookInside(type="look_inside", chunk=2), METHODS["logit_lens"]
    whole = list(run(protocol, job_of(lm, method, QUESTIONS, tmp_path)))
    finished = {part.name: part.state for part in whole[:2]}
    rest = list(run(protocol, job_of(lm, method, QUESTIONS, tmp_path, finished=finished)))
    assert [part.name for part in rest] == [part.name for part in whole[2:]]
    assert rest[-1].exhibits == whole[-1].exhibits
    done = {part.name: part.state for part in whole}
    assert not list(run(protocol, job_of(lm, method, QUESTIONS, tmp_path, finished=done)))


def test_questions_without_a_subject_are_counted(tmp_path: Path) -> None:
    bare = [replace(QUESTIONS[0], id="a", subject=""), replace(QUESTIONS[0], id="b", subject="Zoe")]
    lm = tiny("gpt2", layers=2)
    parts, records, _ = looked(lm, "logit_lens", tmp_path, [*QUESTIONS, *bare])
    assert [row["item"] for row in parts[0].items] == ["a", "b"]
    assert "subject" in parts[0].items[0]["skipped"]
    assert not {item for item, _ in records} & {"a", "b"}
    with pytest.raises(DataError, match="subject"):
        looked(lm, "logit_lens", tmp_path, bare)


def test_the_span_is_that_of_the_pair() -> None:
    lm, question = tiny("gpt2"), QUESTIONS[0]
    tokens = tuple(lm.tokenizer(question.clean)["input_ids"])
    assert span_of(lm, question, Pair("a", tokens, (), (1,), (2,))) == (1, 4)
    with pytest.raises(Unusable, match="others"):
        span_of(lm, question, Pair("a", (3, *tokens), (), (1,), (2,)))
    with pytest.raises(Unusable, match="token ids"):
        span_of(lm, replace(question, clean=tokens), Pair("a", tokens, (), (1,), (2,)))


def test_exhibits() -> None:
    """A mean with its normal interval, a median with quartiles; rows that no prompt has are left out."""
    grids = np.full((4, 2, 2), np.nan)
    grids[:, 0] = [[1, 0], [2, 0], [3, 0], [4, np.nan]]
    matrix = exhibit(Panel("p", "P", ("there", "absent")), grids)
    assert (matrix["rows"], matrix["columns"], matrix["values"]) == (["there"], ["0", "1"], [[2.5, 0.0]])
    (line,) = exhibit(Panel("p", "P", ("there", "absent"), "curve", "y"), grids)["series"]
    half = 1.96 * np.std([1, 2, 3, 4], ddof=1) / 2
    assert line["x"] == [0, 1]
    assert line["low"] == [pytest.approx(2.5 - half, abs=1e-6), 0.0]
    (line,) = exhibit(Panel("p", "P", ("there", "absent"), "curve", "y", "median"), grids)["series"]
    assert (line["low"][0], line["y"][0], line["high"][0]) == (1.75, 2.5, 3.25)
    (line,) = exhibit(Panel("p", "P", ("there",), "curve", "y"), grids[:1, :1])["series"]
    assert line["low"] == line["y"] == line["high"] == [1.0, 0.0]


def test_peaks_are_before_the_end() -> None:
    """At the last position the state that decides all would win always."""
    grid = np.array([[0.1, 0.2], [0.5, 0.3], [0.4, 0.9]])
    assert _peak_before_end(grid, (0, 2)) == {"peak": 0.5, "peak.depth": 0.0, "peak.subject_last": True}
    assert _peak_before_end(grid, (0, 1)) == {"peak": 0.5, "peak.depth": 0.0, "peak.subject_last": False}
    assert _peak_before_end(grid, (1, 3)) == {"peak": 0.5, "peak.depth": 0.0}
    assert _peak_before_end(grid[:1], (0, 1)) == {}


def test_auroc_of_the_margin() -> None:
    """1 when every prompt that is answered rightly has the larger margin."""
    (metric,) = (metric for metric in METRICS if metric.id == "margin.auroc")
    for margins, area in (((3.0, 2.0, 1.0, 0.0), 1.0), ((0.0, 1.0, 2.0, 3.0), 0.0), ((1.0, 1.0, 1.0, 1.0), 0.5)):
        part = Part("x", items=[{"item": str(i)} for i in range(4)])
        for i, margin in enumerate(margins):
            part.record(str(i), "label", i >= 2)
            part.record(str(i), "margin", margin)
        cell = Cell({"id": "x", "metrics": [metric.to_json()]}, part.records, part.items)
        (sample,) = cell.samples(metric).values()
        assert float(metric.value(sample.columns)[0]) == area


def test_lens_depth_and_direct_sums(tmp_path: Path) -> None:
    """What an item's numbers must agree with, whatever the model."""
    lm = tiny("llama", layers=3)
    _, records, _ = looked(lm, "logit_lens", tmp_path)
    for question in QUESTIONS:
        at = {column: value for (item, column), value in records.items() if item == question.id}
        if "first_layer.rank1" in at:
            assert at["first_layer.rank10"] <= at["first_layer.rank1"]
    _, traced, _ = looked(lm, "causal_tracing", tmp_path)
    assert all(
        -1 <= value <= 1 for (_, column), value in traced.items() if column in ("peak.causal_tracing", "total_effect")
    )


def test_unrelated_questions() -> None:
    """Of another relation, with another answer, whatever the order of the questions."""
    pairs = [Pair(q.id, (1,), (), (n % 3,), (9,)) for n, q in enumerate(QUESTIONS)]
    found = dict(zip([q.id for q in QUESTIONS], _unrelated(QUESTIONS, pairs), strict=True))
    backwards = dict(zip([q.id for q in QUESTIONS[::-1]], _unrelated(QUESTIONS[::-1], pairs[::-1]), strict=True))
    assert found == backwards
    relations = {q.id: q.relation for q in QUESTIONS}
    for question, pair in zip(QUESTIONS, pairs, strict=True):
        other = found[question.id]
        assert other is not None
        assert relations[other.id] != question.relation
        assert other.answer != pair.answer
    assert list(_unrelated(QUESTIONS[:2], pairs[:2])) == [None, None]


@pytest.mark.parametrize("name", ["plain", "deep", "more_relations", "saturated"])
def test_types_of_compiled_heads(name: str) -> None:
    """Where the circuit is known, the only mover is the one of the relation that is asked for, and the relation head is
    one; decoys that happen to look at a relation are not told from it."""
    made = make(DESIGNS[name], 0)
    wiring = wiring_of(made.lm)
    for number, pair in enumerate(made.pairs):
        question = made.facts.counterparts[number][0]
        tokens, answer, wrong = (torch.tensor([ids]) for ids in (pair.clean, pair.answer, pair.wrong))
        code = types(heads(wiring, tokens, answer, wrong), 0, (2, 3), attends=0.3, top=10, least=0.1)
        assert torch.nonzero(code == TYPES.index("mover")).tolist() == [list(made.circuit.movers[question.relation])]
        assert TYPES[int(code[made.circuit.relation])] == "relation"
