"""Judges: what is read as a score, what becomes of rows without one, and how many rows are asked about at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from instruct_fixtures import Fake
from pydantic import ValidationError

from benchwright.adapters.chat.requests import Reply, Request
from benchwright.adapters.instruct.methods.judged import LlmScore, LlmScoreEasyInstruct
from benchwright.adapters.instruct.rows import Rejected, Row, Turn
from benchwright.adapters.instruct.stage import Outcome, Stage, Workbench


def run(stage: Stage, rows: Sequence[Row], fake: Fake) -> list[Outcome]:
    asking: Any = {"judge": fake}
    return list(stage.run(iter(rows), Workbench(0, "quality", asking=asking)))


def score(**fields: Any) -> LlmScore:
    return LlmScore(type="llm_score", **fields)


ROWS = [Row(f"r{i}", "Name a bird.", output=f"answer-{i};") for i in range(4)]


def test_rows_are_kept_by_their_score() -> None:
    replies = {
        "answer-0;": "Fine.\n**Score:** 5",
        "answer-1;": "Score: [4]/5",
        "answer-2;": "Rating: 3",
        "answer-3;": "4",
    }
    fake = Fake(lambda request: next(v for k, v in replies.items() if k in request.messages[0][1]))
    outcomes = run(score(), ROWS, fake)
    assert [(o.row.id, o.reason, o.value) for o in outcomes if isinstance(o, Rejected)] == [("r2", "low score", 3)]
    assert [(o.id, o.scores) for o in outcomes if isinstance(o, Row)] == [
        ("r0", {"quality": 5}),
        ("r1", {"quality": 4}),
        ("r3", {"quality": 4}),
    ]
    assert len(fake.calls) == 1
    assert len(run(score(threshold=None), ROWS, fake)) == 4
    assert all(isinstance(o, Row) for o in run(score(threshold=None), ROWS, fake))


def test_without_a_score_the_judge_is_asked_once_more_and_then_the_row_is_turned_away() -> None:
    def judge(request: Request) -> str:
        first = len(request.messages) == 1
        if "answer-0;" in request.messages[0][1]:
            return "Well done." if first else "Score: 4"
        return "Score: 45" if first else "I would say forty-five."

    fake = Fake(judge)
    kept, away = run(score(), ROWS[:2], fake)
    assert isinstance(kept, Row)
    assert isinstance(away, Rejected)
    assert (away.reason, away.failed, away.row.scores) == ("unparsable reply", True, {})
    assert len(fake.forgotten) == 2
    assert [len(call) for call in fake.calls] == [2, 2]
    assert fake.calls[1][0].messages[1:] == (
        ("assistant", "Well done."),
        ("user", "Give the score alone, a number from 1 to 5, in one line: Score: N"),
    )


def test_no_reply_is_a_failure_and_not_asked_twice() -> None:
    for stage in (score(), score(threshold=None), easyinstruct()):
        fake = Fake(lambda request: Reply("", "error", error="http 500"))
        (away,) = run(stage, ROWS[:1], fake)
        assert isinstance(away, Rejected)
        assert (away.reason, away.failed) == ("no reply: http 500", True)
        assert len(fake.calls) == 1
    (cut,) = run(score(), ROWS[:1], Fake(lambda request: Reply("It begins", "length")))
    assert isinstance(cut, Rejected)
    assert (cut.reason, cut.failed) == ("cut off", False)


def test_rows_are_asked_about_in_chunks() -> None:
    fake = Fake(lambda request: "Score: 5")
    rows = (Row(str(i), "Name a bird.", output="x") for i in range(150))
    read = run(score(), list(rows), fake)
    assert [len(call) for call in fake.calls] == [64, 64, 22]
    assert [o.id for o in read if isinstance(o, Row)] == [str(i) for i in range(150)]


def test_criteria_scale_and_conversation_reach_the_judge() -> None:
    fake = Fake(lambda request: "Score: 9/10")
    row = Row(
        "r", "And {output}?", output="Blue {criteria}.", earlier=(Turn("user", "Colour?"), Turn("assistant", "Red."))
    )
    (kept,) = run(score(criteria="10 is short.", scale=(1, 10), threshold=7), [row], fake)
    assert isinstance(kept, Row)
    assert kept.scores == {"quality": 9}
    text = fake.calls[0][0].messages[0][1]
    for part in ("from 1 to 10", "10 is short.", "Colour?\nRed.\nAnd {output}?", "Blue {criteria}."):
        assert part in text
    assert fake.calls[0][0].temperature == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": (1, 10)}, "write `criteria` for another scale"),
        ({"scale": (5, 1), "criteria": "x"}, "expected the lowest score"),
        ({"threshold": 6.0}, "not on the scale from 1 to 5"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        score(**fields)


def easyinstruct(**fields: Any) -> LlmScoreEasyInstruct:
    return LlmScoreEasyInstruct(type="llm_score-easyinstruct", prompt="{prompt} {output}", **fields)


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("Score: 45", 45),
        ("score: 4/5", 4),
        ("Score: 3, or score: 5", 3),
        ("Score: [5]", None),
        ("**Score:** 5", None),
        ("SCORE: 5", None),
    ],
)
def test_easyinstruct_reads_its_own_way(reply: str, value: float | None) -> None:
    fake = Fake(lambda request: reply)
    (all_,) = run(easyinstruct(threshold=None), ROWS[:1], fake)
    assert isinstance(all_, Row)
    assert all_.scores == {"quality": value}
    (decided,) = run(easyinstruct(), ROWS[:1], fake)
    assert isinstance(decided, Row) == (value is not None and value >= 4)
    if value is None:
        assert isinstance(decided, Rejected)
        assert decided.reason == "unparsable reply"
    assert (fake.calls[0][0].messages, fake.calls[0][0].max_tokens) == ((("user", "Name a bird. answer-0;"),), 150)


@pytest.mark.parametrize("text", ["", "123", "把这句话翻译成英文", "😀", "\ud800", "x" * 100_000])
def test_strange_rows_stop_no_judge(text: str) -> None:
    for stage in (score(), easyinstruct()):
        assert len(run(stage, [Row("r", text, text, text)], Fake(lambda request: text))) == 1
