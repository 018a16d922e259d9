"""EasyInstruct's judge and generator on its recorded replies: the same scores and decisions, and what it loses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchwright.adapters.chat.requests import Reply, Request
from benchwright.adapters.instruct.generating.fields import score_in
from benchwright.adapters.instruct.generating.parsing import listed_in
from benchwright.adapters.instruct.generating.self_instruct import instances_in
from benchwright.adapters.instruct.methods.generate import SelfInstruct
from benchwright.adapters.instruct.methods.judged import LlmScore, LlmScoreEasyInstruct
from benchwright.adapters.instruct.rows import Rejected, Row
from benchwright.adapters.instruct.stage import Workbench


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    found = shared / "fixtures" / "instruct"
    if not found.is_dir():
        pytest.skip("no ../shared/fixtures/instruct with EasyInstruct's recorded runs")
    return found


def expected(folder: Path, name: str) -> Any:
    return json.loads((folder / "expected" / f"{name}.json").read_text(encoding="utf-8"))


class Recorded:
    """Gives recorded replies in their order, and no more."""

    def __init__(self, replies: Sequence[str]) -> None:
        self.replies, self.asked = list(replies), []  # type: ignore[var-annotated]

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        self.asked += requests
        return [Reply(self.replies.pop(0)) for _ in requests]

    def forget(self, requests: Sequence[Request]) -> None:
        pass


def rows_of(folder: Path, count: int) -> list[Row]:
    lines = (folder / "input_alpaca.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    return [Row(str(i), r["instruction"], r["input"], r["output"]) for i, r in enumerate(map(json.loads, lines))]


@pytest.mark.parametrize(("name", "threshold"), [("gpt_score_filter", 4), ("gpt_score_score_only", None)])
def test_the_same_scores_and_decisions(folder: Path, name: str, threshold: int | None) -> None:
    recorded = expected(folder, name)
    judge = Recorded([entry["reply"] for entry in recorded["log"]])
    rows = rows_of(folder, len(judge.replies))
    stage = LlmScoreEasyInstruct(type="llm_score-easyinstruct", prompt="{prompt}\n{output}", threshold=threshold)
    asking: Any = {"judge": judge}
    outcomes = list(stage.run(iter(rows), Workbench(0, "gpt", asking=asking)))
    assert [[int(o.id), o.scores["gpt"]] for o in outcomes if isinstance(o, Row)] == recorded["out"]
    assert len(outcomes) == len(rows)
    # What EasyInstruct asks about is what we ask about: the same row at every place of the log.
    for entry, request in zip(recorded["log"], judge.asked, strict=True):
        body = entry["request"]
        assert request.messages[0][1].rsplit("\n", 1)[-1] in body["messages"][-1]["content"]
        assert (request.max_tokens, request.temperature) == (body["max_tokens"], body["temperature"])


def test_the_tolerant_judge_reads_every_recorded_score(folder: Path) -> None:
    recorded = expected(folder, "gpt_score_score_only")
    replies = [entry["reply"] for entry in recorded["log"]]
    assert [score_in(reply, 1, 5) for reply in replies] == [5, 4, 2, 5, 5, 5, 5, 4]
    asking: Any = {"judge": Recorded(replies)}
    outcomes = list(LlmScore(type="llm_score").run(iter(rows_of(folder, 8)), Workbench(0, "q", asking=asking)))
    assert [o.row.id for o in outcomes if isinstance(o, Rejected)] == ["2"]


def test_all_14_items_are_found_of_which_easyinstruct_loses_3(folder: Path) -> None:
    recorded = expected(folder, "generator_self_instruct")["self_instruct_alpaca"]
    replies = [entry["reply"] for entry in recorded["log"][:3]]
    contained = [sum("Instruction:" in line for line in reply.split("\n")) for reply in replies]
    found = [listed_in(reply).items for reply in replies]
    assert [len(items) for items in found] == contained == [9, 2, 3]
    items = [item for group in found for item in group]
    for kept in recorded["instructions"]:
        assert kept["instruction"] in [item.capitalize() for item in items]
        assert kept["instruction"] not in items or kept["instruction"] == kept["instruction"].capitalize()
    assert "Explain how Photosynthesis works in the USA for a child." in items
    assert "This one skips an index and so is lost to the parser." in items
    assert len(recorded["instructions"]) == 5


def test_what_the_filters_make_of_the_14_items(folder: Path) -> None:
    recorded = expected(folder, "generator_self_instruct")["self_instruct_alpaca"]
    replies = [entry["reply"] for entry in recorded["log"][:3]]
    lines = (folder / "seed_tasks_12.jsonl").read_text(encoding="utf-8").splitlines()
    seeds = [Row(r["id"], r["instruction"]) for r in map(json.loads, lines)]

    class Writer:
        def ask(self, requests: Sequence[Request]) -> list[Reply]:
            return [self.reply(request) for request in requests]

        def reply(self, request: Request) -> Reply:
            if request.purpose == "instructions":
                return Reply(replies[request.sample])
            return Reply("no" if request.purpose == "classification" else "Output: x")

    stage = SelfInstruct(type="self_instruct", count=11, at_once=3)
    asking: Any = {"writer": Writer()}
    outcomes = list(stage.run(iter(seeds), Workbench(0, "si", asking=asking)))
    away = {o.row.instruction: o.reason for o in outcomes if isinstance(o, Rejected)}
    assert away == {
        "Draw a picture of a cat on the moon.": "needs more than text",
        "Name it now": "too short",
        "Recommend three museums in Paris and say why each is worth seeing.": "too like a known instruction",
    }
    assert len(outcomes) == 14
    assert all("item" in (o.row if isinstance(o, Rejected) else o).notes for o in outcomes)


def test_recorded_answers_are_read(folder: Path) -> None:
    recorded = expected(folder, "generator_self_instruct")["self_instruct_self_instruct"]
    replies = [entry["reply"] for entry in recorded["log"][3:]]
    texts = [reply for reply in replies if isinstance(reply, str)]
    theirs = [[(i["input"], i["output"]) for i in r["instances"]] for r in recorded["instances"]]
    assert [instances_in(text) for text in texts] == theirs
