"""The generator track: what the writer holds, and what a run, a killed run and a second run have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from benchwright.adapters.chat.requests import Request
from benchwright.adapters.instruct.contents import Instructions
from benchwright.adapters.instruct.generator.params import GeneratorTruth, SimulatedWriter
from benchwright.adapters.instruct.generator.run import generate
from benchwright.adapters.instruct.generator.writer import Writer
from benchwright.adapters.instruct.methods.generate import SelfInstruct
from benchwright.adapters.instruct.methods.pipeline import Pipeline
from benchwright.adapters.instruct.rows import Row
from benchwright.adapters.instruct.stage import Outcome, Stage, Workbench
from benchwright.artifacts import ArtifactStore
from benchwright.job import Job, Part

WRITER = SimulatedWriter(type="simulated_writer")
SEEDS = [Row(str(i), f"Say number {i} in words of language {i}", output="x") for i in range(12)]


class Impatient(Stage):
    """Asks without a place for replies of an earlier run, by asking for another draw each time."""

    type: Literal["impatient"] = "impatient"
    generates: ClassVar[bool] = True
    draws: ClassVar[Iterator[int]] = iter(range(10**9))

    def roles(self) -> dict[str, str]:
        return {"writer": "chat_model"}

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        for row in rows:
            request = Request((("user", row.instruction),), sample=next(self.draws), purpose="answer")
            (reply,) = bench.asking["writer"].ask([request])
            yield Row(f"{row.id}-{request.sample}", reply.text)


class _Task:
    class data:
        @staticmethod
        def load(files: Any, limit: Any) -> Instructions:
            return Instructions(SEEDS, (), ())


class _Method:
    def __init__(self, *stages: Stage) -> None:
        self.algorithm = Pipeline.model_construct(type="pipeline", stages=stages, models={"writer": "simulated-writer"})


def cell(tmp_path: Path, *stages: Stage) -> Part:
    job = Job(
        task=_Task(),  # type: ignore[arg-type]
        method=_Method(*stages),  # type: ignore[arg-type]
        seed=0,
        limit=None,
        models={"method.writer": Writer(WRITER, "w")},
        fingerprints={"method.writer": "w"},
        files={},
        artifacts=ArtifactStore(tmp_path / "artifacts"),
    )
    (part,) = generate(GeneratorTruth(type="generator_truth"), job)
    return part


def values(part: Part, metric: str) -> list[float]:
    return [r["value"] for r in part.records if r["metric"] == metric]


def test_a_generator_that_is_sound(tmp_path: Path) -> None:
    part = cell(tmp_path, SelfInstruct(type="self_instruct", count=25))
    assert values(part, "found") == values(part, "contained")
    assert sum(values(part, "contained")) > 25
    single = {m: values(part, m) for m in ("count_error", "lost_by_kill", "paid_twice", "same_bytes")}
    assert single == {"count_error": [0.0], "lost_by_kill": [0.0], "paid_twice": [0.0], "same_bytes": [1.0]}
    assert part.facts["rows"] == 25
    assert 0 < part.facts["answered_before_the_kill"] < part.facts["requests"]


def test_a_generator_that_draws_anew_is_caught(tmp_path: Path) -> None:
    part = cell(tmp_path, Impatient())
    assert values(part, "same_bytes") == [0.0]
    assert values(part, "lost_by_kill") == [12.0]
    assert values(part, "requests_per_row") == [1.0]


def lists(count: int = 60) -> list[tuple[str, int, str]]:
    requests = [
        Request((("user", "1. Instruction: Say why."),), sample=i, purpose="instructions") for i in range(count)
    ]
    replies = [reply for _, reply in Writer(WRITER, "w").answer(requests)]
    return [(r.text, r.contains or 0, r.finish_reason) for r in replies]


def test_the_writer_knows_what_it_wrote() -> None:
    """Every whole item ends in a full stop or a question mark of its own: counted without any parser."""
    for text, contains, finish in lists():
        assert len(re.findall(r'\w[.?](?="|\n|$)', text)) == contains, (finish, text)


def test_the_writer_has_many_forms_and_cuts_some() -> None:
    found = lists()
    assert len({text[:3] for text, _, _ in found}) >= 7
    assert 1 <= sum(finish == "length" for *_, finish in found) <= 15
    assert lists() == found


@pytest.mark.parametrize("purpose", ["classification", "instances", "gain", "score", "answer"])
def test_every_purpose_has_a_reply(purpose: str) -> None:
    ((_, reply),) = Writer(WRITER, "w").answer([Request((("user", "x"),), purpose=purpose)])
    assert reply.text.strip()
    assert reply.contains == 1
    assert np.isfinite(reply.completion_tokens or np.nan)
