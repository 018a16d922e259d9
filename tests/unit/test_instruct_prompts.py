"""Prompt templates: what is checked before anything is asked, what is asked, and how answers are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from instruct_fixtures import Fake
from pydantic import ValidationError

from benchwright.adapters.chat.requests import Reply, Request
from benchwright.adapters.instruct.generating.answering import answer_in, answers_in
from benchwright.adapters.instruct.methods.prompted import Answer
from benchwright.adapters.instruct.prompts.loading import Prompt, names, read_template, shipped
from benchwright.adapters.instruct.prompts.template import After, Json, Template, found
from benchwright.adapters.instruct.rows import Rejected, Row, Turn
from benchwright.adapters.instruct.stage import Outcome, Workbench
from benchwright.errors import SpecError, UsageError


def run(rows: Sequence[Row], fake: Fake, files: dict[str, Path] | None = None, **prompt: Any) -> list[Outcome]:
    asking: Any = {"writer": fake}
    stage = Answer(type="answer", prompt=Prompt(**prompt))
    return list(stage.run(iter(rows), Workbench(0, "answer", asking=asking, files=files or {})))


def last(fake: Fake) -> str:
    return fake.asked[-1].messages[-1][1]


def outputs(outcomes: Sequence[Outcome]) -> list[str]:
    assert all(isinstance(o, Row) for o in outcomes)
    return [o.output for o in outcomes if isinstance(o, Row)]


ROW = Row("r", "Add 2 and 3.", "Be quick, {prompt}.")


def test_every_shipped_template_is_sound_and_named_like_its_file() -> None:
    assert [shipped(name).name for name in names()] == names()
    for name in names():
        template = shipped(name)
        used = {p for _, text, _ in template.texts() for p in found(text)}
        assert set(template.takes) | (set(template.values) if name != "evol" else set()) <= used


def test_a_row_is_filled_in_once() -> None:
    fake = Fake(lambda request: " 5 \n")
    (row,) = run([ROW], fake, template="plain")
    assert last(fake) == "Add 2 and 3.\nBe quick, {prompt}."
    assert isinstance(row, Row)
    assert (row.output, row.record, row.instruction) == ("5", None, ROW.instruction)


def test_examples_are_parted_and_needed() -> None:
    fake = Fake(lambda request: "5")
    examples = ({"question": "1+1?", "answer": "2"}, {"question": "{prompt}?", "answer": "4"})
    run([Row("r", "2+3?")], fake, template="few-shot", examples=examples)
    assert last(fake) == "Question: 1+1?\nAnswer: 2\n\nQuestion: {prompt}?\nAnswer: 4\n\nQuestion: 2+3?\nAnswer:"
    with pytest.raises(UsageError, match="few-shot: examples: needs 1, got 0"):
        run([ROW], fake, template="few-shot")
    with pytest.raises(UsageError, match=r"examples\.0: answer is missing"):
        run([ROW], fake, template="few-shot", examples=({"question": "1"},))
    with pytest.raises(UsageError, match="plain: has no place for examples"):
        run([ROW], fake, template="plain", examples=examples)


def test_chain_of_thought_keeps_the_answer_and_notes_the_rest() -> None:
    fake = Fake(lambda request: "2 and 3 are 5.\n**Answer:** 5")
    (row,) = run([ROW], fake, template="cot-few-shot")
    assert isinstance(row, Row)
    assert (row.output, row.notes["reply"]) == ("5", "2 and 3 are 5.\n**Answer:** 5")
    assert last(fake).count("Reasoning:") == 3
    assert last(fake).endswith("Reasoning:")


def test_several_turns_go_on_from_what_the_model_said() -> None:
    fake = Fake(lambda request: "Two and three…" if len(request.messages) == 1 else "Answer: 5")
    assert outputs(run([ROW, ROW], fake, template="cot-zero-shot")) == ["5", "5"]
    assert [len(request.messages) for request in fake.asked] == [1, 1, 3, 3]
    assert fake.asked[-1].messages[1] == ("assistant", "Two and three…")

    def breaks(request: Request) -> str | Reply:
        return Reply("", "error", error="http 500") if "bad" in request.messages[0][1] else "fine"

    kept, away = run([ROW, Row("b", "bad")], Fake(breaks), template="revise")
    assert isinstance(kept, Row)
    assert isinstance(away, Rejected)
    assert away.failed


def test_what_was_said_earlier_goes_before_the_question() -> None:
    row = Row("r", "And now?", earlier=(Turn("user", "Hello."), Turn("assistant", "Hi.")))
    fake = Fake(lambda request: "Fine.")
    run([row], fake, template="plain")
    assert fake.asked[0].messages == (("user", "Hello."), ("assistant", "Hi."), ("user", "And now?"))
    run([row], fake, template="batch")
    assert "Q[1]: Hello.\nHi.\nAnd now?" in last(fake)


@pytest.mark.parametrize(("name", "values"), [("ie-ner", "types"), ("ie-re", "relations"), ("ie-ee", "events")])
def test_extraction_answers_are_json(name: str, values: str) -> None:
    fake = Fake(lambda request: 'Here:\n```json\n[{"entity": "Zoë",\n "type": "Person"}]\n```\nDone.')
    (output,) = outputs(run([Row("r", "Zoë met {x}.")], fake, template=name, values={values: "Person, City"}))
    assert output == '[{"entity": "Zoë", "type": "Person"}]'
    assert "Person, City" in last(fake)
    assert "Text: Zoë met {x}.\n" in last(fake)
    assert "Examples" not in last(fake)
    with pytest.raises(UsageError, match=f"{values} is missing"):
        run([ROW], fake, template=name)
    with pytest.raises(UsageError, match="unknown value 'typs'"):
        run([ROW], fake, template=name, values={"typs": "x"})


def test_batches_lose_and_mangle_nothing() -> None:
    def answer(request: Request) -> str:
        text = request.messages[-1][1]
        numbers = range(1, text.count("Q["))  # the template itself speaks of Q[n]
        return "Sure.\n" + "\n".join(f"**A[{n}]:** café {n}\n1. ünï" for n in numbers if n != 3 or len(numbers) == 1)

    fake = Fake(answer)
    outcomes = run([Row(str(i), f"Question {i}") for i in range(10)], fake, template="batch")
    assert outputs(outcomes) == [f"café {n}\n1. ünï" for n in (1, 2, 1, 4, 5, 6, 7, 8, 1, 2)]
    assert "Q[8]: Question 7" in fake.asked[0].messages[0][1]
    assert "Q[1]: Question 2" in fake.asked[2].messages[0][1]
    kept, away = run([Row("a", "x"), Row("b", "y")], Fake(lambda request: "1. one"), template="batch")[:2]
    assert isinstance(kept, Row)
    assert isinstance(away, Row)  # the second is asked about alone, and then is the first


def test_numbered_answers() -> None:
    assert answers_in(Reply("1. a\n2) b\nc\n3: d"), 3) == ["a", "b\nc", "d"]
    assert answers_in(Reply("A[1]: List:\n1. x\n2. y\nA[2]: z"), 2) == ["List:\n1. x\n2. y", "z"]
    assert answers_in(Reply("Answer 1: a\n**Answer 2:** b"), 2) == ["a", "b"]
    assert answers_in(Reply("A[1]: a\nA[2]: b", "length"), 2) == ["a", None]
    assert answers_in(Reply("nothing"), 2) == [None, None]


def test_answers_by_rule() -> None:
    after = After(type="after", labels=("final answer", "answer"))
    assert answer_in(Reply("Answer: 3\nno,\nFINAL ANSWER: 4\n"), after) == "4"
    assert answer_in(Reply("I do not know."), after) is None
    assert answer_in(Reply("no list"), Json(type="json")) is None


def test_a_missing_answer_is_asked_for_once_more() -> None:
    fake = Fake(lambda request: "hm" if len(request.messages) == 1 else "Answer: 5")
    assert outputs(run([ROW], fake, template="cot-few-shot")) == ["5"]
    fake = Fake(lambda request: "hm")
    (away,) = run([ROW], fake, template="cot-few-shot")
    assert isinstance(away, Rejected)
    assert (away.reason, len(fake.asked)) == ("unparsable reply", 2)


MINE = """\
kind: prompt
name: mine
title: My own
takes: [prompt]
values: {tone: kind}
messages:
  - {role: system, text: "Be {tone}."}
  - role: user
    text: "Please: {prompt}"
"""


def test_a_users_own_template(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(MINE, encoding="utf-8")
    fake = Fake(lambda request: "ok")
    run([ROW], fake, {"prompt.file": file}, file="mine.yaml", values={"tone": "brief"})
    assert fake.asked[0].messages[0] == ("system", "Be brief.")
    assert last(fake).startswith("Please: Add 2")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{prompt}",
            "{promt}",
            r"mine\.yaml:9:11: messages\.1\.text: unknown placeholder 'promt'; did you mean 'prompt'\?",
        ),
        ("role: system", "role: sytem", r"mine\.yaml:7:12: messages\.0\.role: .*did you mean 'system'"),
        ("title:", "titel:", r"mine\.yaml:3:1: titel: unknown field; did you mean 'title'\?"),
        ("- role: user", "- role: assistant", "the last message must be the user's"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(MINE.replace(old, new), encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        read_template(file)


def test_which_template_is_one_answer() -> None:
    for fields in ({}, {"template": "plain", "file": "x.yaml"}):
        with pytest.raises(ValidationError, match="and not both"):
            Prompt(**fields)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="unknown template 'plian'; did you mean 'plain'"):
        Prompt(template="plian")
    with pytest.raises(UsageError, match="evol: takes parent, which no row has"):
        run([ROW], Fake(lambda request: ""), template="evol")


def test_a_batch_has_one_request() -> None:
    given = shipped("batch").model_dump() | {"history": True}
    with pytest.raises(ValidationError, match="a batch has one request and no history"):
        Template.model_validate(given)


@pytest.mark.parametrize("text", ["", "123", "把这句话翻译成英文", "😀", "\ud800", "x" * 100_000])
@pytest.mark.parametrize("name", ["plain", "cot-few-shot", "cot-zero-shot", "batch", "revise"])
def test_strange_rows_and_replies_stop_nothing(name: str, text: str) -> None:
    assert len(run([Row("r", text, text, text)] * 3, Fake(lambda request: text), template=name)) == 3
