"""How rows flow through stages: order, reasons, counts, and what stages must not do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import pytest

from benchwright.adapters.instruct.flow import Tally
from benchwright.adapters.instruct.methods.pipeline import Pipeline
from benchwright.adapters.instruct.rows import Rejected, Row
from benchwright.adapters.instruct.stage import Outcome, Stage, Workbench
from benchwright.errors import BenchwrightError


class Drop(Stage):
    """Turns away rows whose instruction holds a letter."""

    type: Literal["drop"] = "drop"
    letter: str

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        for row in rows:
            scored = row.scored(**{bench.name: float(row.instruction.count(self.letter))})
            yield Rejected(scored, f"has {self.letter}") if self.letter in row.instruction else scored


class Hold(Stage):
    """Holds all rows before it yields the first one."""

    type: Literal["hold"] = "hold"

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        yield from list(rows)


class Lose(Hold):
    """Loses a row."""

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        next(rows)
        yield from rows


class Twice(Hold):
    """Makes two of each."""

    generates: ClassVar[bool] = True

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        for row in rows:
            yield Row(f"{row.id}a", row.instruction)
            yield Row(f"{row.id}b", row.instruction)


class Need(Hold):
    """Asks a model."""

    kind: str = "chat_model"

    def roles(self) -> dict[str, str]:
        return {"judge": self.kind}


def through(*stages: Stage, rows: Iterator[Row] | None = None) -> tuple[list[str], list[tuple[str, str, str]], Tally]:
    pipeline = Pipeline.model_construct(type="pipeline", stages=stages, models={})
    benches = {name: Workbench(seed=0, name=name) for name in pipeline.names}
    tally, away = Tally(), list[Rejected]()
    given = rows or iter([Row("0", "abc"), Row("1", "xb"), Row("2", "c"), Row("3", "x")])
    kept = [row.id for row in pipeline.run(given, benches, tally, away.append)]
    return kept, [(r.row.id, r.stage, r.reason) for r in away], tally


def test_each_row_is_kept_or_turned_away_by_the_first_stage_that_does() -> None:
    kept, away, tally = through(Drop(letter="a"), Drop(letter="x"))
    assert kept == ["2"]
    assert away == [("0", "drop", "has a"), ("1", "drop-2", "has x"), ("3", "drop-2", "has x")]
    assert [(s.name, s.taken, s.kept, dict(s.reasons)) for s in tally.stages] == [
        ("drop", 4, 3, {"has a": 1}),
        ("drop-2", 3, 1, {"has x": 2}),
    ]


def test_the_order_is_the_user_s() -> None:
    assert through(Drop(letter="x"), Drop(letter="b"))[1] == [
        ("0", "drop-2", "has b"),
        ("1", "drop", "has x"),
        ("3", "drop", "has x"),
    ]


def test_rows_stream_one_at_a_time() -> None:
    pulled = 0

    def source() -> Iterator[Row]:
        nonlocal pulled
        for i in range(1000):
            pulled += 1
            yield Row(str(i), "abc")

    pipeline = Pipeline.model_construct(type="pipeline", stages=(Drop(letter="x"), Drop(letter="y")), models={})
    benches = {name: Workbench(seed=0, name=name) for name in pipeline.names}
    rows = pipeline.run(source(), benches, Tally(), lambda rejected: None)
    next(rows)
    next(rows)
    assert pulled == 2


def test_a_rejection_is_told_before_a_later_stage_holds_everything() -> None:
    away: list[Rejected] = []
    told_at: list[int] = []

    def source() -> Iterator[Row]:
        for i in range(3):
            yield Row(str(i), "a")
            told_at.append(len(away))

    pipeline = Pipeline.model_construct(type="pipeline", stages=(Drop(letter="a"), Hold()), models={})
    benches = {name: Workbench(seed=0, name=name) for name in pipeline.names}
    assert list(pipeline.run(source(), benches, Tally(), away.append)) == []
    assert told_at == [1, 2, 3]


def test_a_stage_that_loses_a_row_is_an_error() -> None:
    with pytest.raises(BenchwrightError, match=r"stage hold \(hold\) was given 4 rows and yielded 3"):
        through(Lose())


def test_what_generates_yields_rows_of_its_own() -> None:
    kept, _, tally = through(Drop(letter="x"), Twice())
    assert kept == ["0a", "0b", "2a", "2b"]
    assert (tally.stages[1].taken, tally.stages[1].kept) == (2, 4)
    assert Pipeline.model_construct(stages=(Hold(), Twice())).yields == "generation"
    assert Pipeline.model_construct(stages=(Hold(),)).yields == "selection"


def test_names_are_the_user_s_or_the_types_numbered() -> None:
    pipeline = Pipeline.model_construct(stages=(Hold(), Hold(name="mine"), Hold(), Drop(letter="a")))
    assert pipeline.names == ("hold", "mine", "hold-2", "drop")


def test_a_role_must_suit_every_stage_that_uses_it() -> None:
    one = Pipeline.model_construct(stages=(Need(),), models={"judge": "some"}).own_models()["judge"]
    assert (one.name, one.opens) == ("some", {"chat_model", "language_model"})
    both = Pipeline.model_construct(stages=(Need(), Need(kind="language_model")), models={}).own_models()["judge"]
    assert (both.name, both.opens) == (None, {"language_model"})


def test_the_draws_of_a_stage_are_its_own() -> None:
    def drawn(name: str, item: str, seed: int = 0) -> float:
        return float(Workbench(seed=seed, name=name).rng(item).random())

    assert drawn("a", "1") == drawn("a", "1")
    assert len({drawn("a", "1"), drawn("b", "1"), drawn("a", "2"), drawn("a", "1", seed=1)}) == 4
