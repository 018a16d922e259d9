"""The track of sentiments: SERAC's scores by hand, what a file becomes, and what editing changes."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path
from typing import Any

import lm_fixtures
import pytest
import torch

from benchwright.adapters.editing.sentiment.cases import SentimentCase
from benchwright.adapters.editing.sentiment.metrics import per_token, success
from benchwright.adapters.editing.sentiment.params import ConvSent, Sentiment
from benchwright.adapters.editing.sentiment.run import divergence, run
from benchwright.adapters.lm.interventions.fine_tune.params import FineTune
from benchwright.adapters.lm.interventions.in_context import InContext
from benchwright.adapters.lm.model import LanguageModel
from benchwright.artifacts import ArtifactStore
from benchwright.errors import DataError
from benchwright.job import Job, Part
from benchwright.kinds import MethodSpec, TaskSpec

TOPICS = [
    {"ent": name, "pos": [f" I love {name}. ", "So good!"], "neg": [f" I hate {name}. ", "Bad."]}
    for name in ("Rome", "tea", "rain", "chess", "jazz", "cats")
]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return lm_fixtures.tiny("llama")


def written(tmp_path: Path, topics: Any = TOPICS) -> Path:
    file = tmp_path / "blender_test.json"
    file.write_text(json.dumps(topics), encoding="utf-8")
    return file


def load(tmp_path: Path, **fields: Any) -> list[SentimentCase]:
    return ConvSent(type="convsent", file="f", **fields).load({"file": written(tmp_path)}, None)


def job(lm: LanguageModel, tmp_path: Path, algorithm: Any, **fields: Any) -> Job:
    data = ConvSent(type="convsent", file="f", questions=("What of {}?",))
    task = TaskSpec.model_construct(
        name="t", data=data, protocol=Sentiment.model_validate({"type": "edit_sentiment", **fields})
    )
    method = MethodSpec.model_construct(name="m", algorithm=algorithm)
    files = {"data": {"file": written(tmp_path)}}
    return Job(task, method, 0, None, {"subject": lm}, {"subject": "s"}, files, ArtifactStore(tmp_path / "artifacts"))


def values(parts: list[Part], metric: str) -> list[float]:
    return [r["value"] for part in parts for r in part.records if r["metric"] == metric]


def test_success_is_sentiment_times_topic() -> None:
    # Wanted replies have probability e^-1 a token, the others e^-2, and before the edit the wanted had e^-0.5.
    found = success(1.0, 2.0, 0.5)
    assert found["z_sentiment"] == pytest.approx(1 / (1 + exp(-1)))
    assert found["z_topic"] == pytest.approx(exp(-0.5))
    assert found["sentiment_success"] == pytest.approx(found["z_sentiment"] * found["z_topic"])
    assert success(1.0, 1.0, 5.0) == {"sentiment_success": 0.5, "z_sentiment": 0.5, "z_topic": 1.0}
    inf = float("inf")
    assert success(inf, inf, 1.0) == {"sentiment_success": 0.0, "z_sentiment": 0.5, "z_topic": 0.0}
    assert success(1.0, inf, 1.0)["z_sentiment"] == 1.0
    assert per_token([(1.0, 3), (5.0, 1)]) == 2.0  # tokens are pooled, not replies


def test_divergence_is_that_of_the_distributions() -> None:
    before, after = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log(), torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log()
    assert divergence(before, after) == pytest.approx(0.5 * log(2) + 0.5 * log(2 / 3))
    assert divergence(before[:1], torch.full((1, 2), float("nan"))) == pytest.approx(100 - log(2), rel=1e-3)


def test_a_topic_becomes_a_case(tmp_path: Path) -> None:
    cases = load(tmp_path)
    assert {case.sentiment for case in cases} == {"positive", "negative"}
    for case, record, after in zip(cases, TOPICS, [*TOPICS[1:], TOPICS[0]], strict=True):
        wanted, unwanted = ("pos", "neg") if case.sentiment == "positive" else ("neg", "pos")
        assert [reply for _, reply in case.wanted] == [reply.strip() for reply in record[wanted]]
        assert [reply for _, reply in case.unwanted] == [reply.strip() for reply in record[unwanted]]
        assert (case.request.prompt, case.request.target_new) == case.wanted[0]
        assert all(record["ent"] in question for question, _ in case.wanted + case.unwanted)
        assert len(case.elsewhere) == 4
        assert all(after["ent"] in question for question, _ in case.elsewhere)
    told = load(tmp_path, questions=("And {}?",), instruction="Be {sentiment}: {question}")
    assert told[0].request.prompt == f"Be {told[0].sentiment}: And Rome?"
    split = [load(tmp_path, split=name) for name in ("test",)]
    assert all(case.neighbour in {c.request.fact for c in found} for found in split for case in found)


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (TOPICS[:1], "expected two topics at least, got 1"),
        ([TOPICS[0], {**TOPICS[1], "neg": []}], r"record 1 \(of 2, from 0\): neg: expected a list of replies"),
        ([TOPICS[0], {**TOPICS[1], "pos": [3]}], r"pos\.0: expected a text, got 3"),
        ([TOPICS[0], {"pos": ["a"], "neg": ["b"]}], "ent: expected a text, it is missing"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, topics: Any, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        ConvSent(type="convsent", file="f").load({"file": written(tmp_path, topics)}, None)


FT = FineTune.model_validate_json('{"type": "fine_tune", "parameters": {"layers": [1]}, "lr": 3e-2, "steps": 15}')


def test_nothing_changes_nothing_and_an_edit_changes_the_topic(lm: LanguageModel, tmp_path: Path) -> None:
    none = job(lm, tmp_path, FT.model_copy(update={"steps": 0}), mode="single", fluency={"tokens": 8})
    before = list(run(none.task.protocol, none))
    assert values(before, "drawdown") == [0.0] * 6
    assert values(before, "z_topic") == [1.0] * 6
    assert values(before, "sentiment_success") == values(before, "z_sentiment")
    assert len(values(before, "fluency")) == 6
    edit = job(lm, tmp_path, FT, mode="single")
    after = list(run(edit.task.protocol, edit))
    assert min(values(after, "drawdown")) > 0
    assert sum(values(after, "z_sentiment")) > sum(values(before, "z_sentiment")) + 0.3
    assert all(z <= 1 for z in values(after, "z_topic"))
    assert lm.verify() == []


def test_a_neighbour_that_was_edited_too_tells_nothing_of_locality(lm: LanguageModel, tmp_path: Path) -> None:
    stream = job(lm, tmp_path, FT, mode="sequential", checkpoints=(1, 6))
    (_, first, last) = run(stream.task.protocol, stream)
    assert len(values([first], "drawdown")) == 1
    assert values([last], "drawdown") == []
    assert last.skipped == {"drawdown: what it asks was edited too": 6}
    assert len(values([last], "sentiment_success")) == 6


def test_a_note_before_the_question_keeps_the_replies_tokens(lm: LanguageModel, tmp_path: Path) -> None:
    noted = job(lm, tmp_path, InContext.model_validate_json('{"type": "in_context"}'), mode="single")
    found = list(run(noted.task.protocol, noted))
    assert len(values(found, "drawdown")) == 6
    assert all(0 < z <= 1 for z in values(found, "z_topic"))
