"""Generators: parsing of replies, filters, exact counts, and rows that depend on seeds, seed and replies only."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from instruct_fixtures import STRANGE, Fake

from benchwright.adapters.chat.requests import Reply, Request
from benchwright.adapters.instruct.generating.magpie import header_of
from benchwright.adapters.instruct.generating.self_instruct import unfit
from benchwright.adapters.instruct.generating.triples import mentions, read_graph, statements
from benchwright.adapters.instruct.methods.generate import (
    Backtranslation,
    EvolInstruct,
    KgToInstruct,
    Magpie,
    SelfInstruct,
)
from benchwright.adapters.instruct.rows import Rejected, Row
from benchwright.adapters.instruct.stage import Outcome, Stage, Workbench
from benchwright.errors import DataError, ModelError


def run(stage: Stage, rows: Sequence[Row], fake: Fake, seed: int = 0, **files: Path) -> list[Outcome]:
    asking: Any = {"writer": fake, "judge": fake}
    bench = Workbench(seed, stage.type, asking=asking, files=files, warn=fake.warned.append)
    return list(stage.run(iter(rows), bench))


def made(outcomes: Sequence[Outcome]) -> list[Row]:
    return [o for o in outcomes if isinstance(o, Row)]


def reasons(outcomes: Sequence[Outcome]) -> list[str]:
    return [o.reason for o in outcomes if isinstance(o, Rejected)]


SEEDS = [
    Row(f"s{i}", text)
    for i, text in enumerate(
        [
            "Translate the sentence into German.",
            "Explain why the sky is blue at noon.",
            "List five uses of an old newspaper.",
            "Write a short poem about autumn leaves.",
            "Summarise the following report in two lines.",
            "Which river is the longest in Africa?",
            "Suggest a name for a small bakery.",
            "Convert the temperature to Fahrenheit.",
            "Compare cats with dogs as pets.",
        ]
    )
]
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "islet", "jetty", "kelp", "lagoon"]


def writer(request: Request) -> str:
    """New instructions for every request; classifications are those of a jetty."""
    last = request.messages[-1][1]
    if request.purpose == "instructions":
        word = WORDS[request.sample % len(WORDS)]
        return f"Sure!\n9. Instruction: Describe the {word} near {word} city, {request.sample}.\n11. Draw a {word} now."
    if request.purpose == "classification":
        return "Yes" if "jetty" in last.rsplit("Task:", 1)[-1] else "No."
    if request.purpose == "instances":
        return "Label: big\nInput: ship\nLabel: small\nInput: boat" if "jetty" in last else "**Output:** In the USA."
    raise AssertionError(request.purpose)


def self_instruct(**fields: Any) -> SelfInstruct:
    return SelfInstruct(type="self_instruct", **fields)


def test_self_instruct_makes_exactly_the_count() -> None:
    for count in (1, 5, 11):
        outcomes = run(self_instruct(count=count), SEEDS, Fake(writer))
        rows = made(outcomes)
        assert len(rows) == count
        assert len({row.id for row in rows}) == count
        assert set(reasons(outcomes)) <= {"needs more than text", "more than asked for", "too like a known instruction"}
    assert all(row.output in ("In the USA.", "big", "small") and row.record is None for row in rows)
    jetty = next(row for row in rows if "jetty" in row.instruction)
    assert (jetty.input, jetty.output) in {("ship", "big"), ("boat", "small")}
    assert jetty.notes["classification"] is True


def test_self_instruct_shows_six_seeds_and_two_of_its_own() -> None:
    fake = Fake(writer)
    run(self_instruct(count=6, at_once=1), SEEDS, fake)
    shown = [
        re.findall(r"^\d+\. Instruction: (.*)$", r.messages[-1][1], re.MULTILINE)
        for r in fake.asked
        if r.purpose == "instructions"
    ]
    known = {seed.instruction for seed in SEEDS}
    assert [len(texts) for texts in shown] == [8] * len(shown)
    assert [sum(text in known for text in texts) for texts in shown[:4]] == [8, 7, 6, 6]


def test_the_same_seed_and_replies_give_the_same_rows() -> None:
    assert run(self_instruct(count=7), SEEDS, Fake(writer)) == run(self_instruct(count=7), SEEDS, Fake(writer))
    first, second = Fake(writer), Fake(writer)
    run(self_instruct(count=7), SEEDS, first, seed=0)
    run(self_instruct(count=7), SEEDS, second, seed=1)
    assert [r.messages for r in first.asked] != [r.messages for r in second.asked]


def test_self_instruct_ends_and_says_what_is_missing() -> None:
    fake = Fake(lambda request: "1. Translate the sentence into German!")
    outcomes = run(self_instruct(count=3, patience=6), SEEDS, fake)
    assert len(fake.asked) == 6
    assert reasons(outcomes) == ["too like a known instruction"] * 6
    assert fake.warned == ["0 of 3 rows were made, fewer than asked for"]
    near = outcomes[0]
    assert isinstance(near, Rejected)
    assert near.neighbour == "s0"
    down = run(self_instruct(count=3, patience=2), SEEDS, Fake(lambda r: Reply("", "error", error="http 500")))
    assert [o.failed for o in down if isinstance(o, Rejected)] == [True, True]
    with pytest.raises(DataError, match="no seed has an instruction"):
        run(self_instruct(count=1), [Row("a", " ")], Fake(writer))


def test_filters_keep_case_and_any_script() -> None:
    stage = self_instruct(count=1)
    assert unfit(stage, "Explain how the USA elects its president.") == ""
    assert unfit(stage, "把这句话翻译成英文") == ""
    assert unfit(stage, "Éclair recipes need how much butter?") == ""
    assert unfit(stage, '"Quote" the best line of it.') == ""
    assert unfit(stage, "Explain photography to a young child.") == ""
    assert unfit(stage, "Draw a cat on the moon.") == "needs more than text"
    assert unfit(stage, "Name it now") == "too short"
    assert unfit(stage, "word " * 151) == "too long"
    assert unfit(stage, "- name one bird of prey") == "begins with a sign"


def test_the_header_of_a_users_turn_is_the_chat_templates_own() -> None:
    class Tokenizer:
        chat_template = "x"

        def apply_chat_template(self, turns: list[dict[str, str]], tokenize: bool) -> str:
            return "<s>" + "".join(f"[{t['role']}]\n{t['content'].strip()}[end]" for t in turns)

    lm: Any = type("Lm", (), {"tokenizer": Tokenizer(), "chat": True})
    asking: Any = type("Asking", (), {"model": type("Model", (), {"lm": lm})})
    assert header_of(asking, "writer") == "<s>[user]\n"
    lm.tokenizer.chat_template = None
    with pytest.raises(ModelError, match="not asked through a chat template; set `header`"):
        header_of(asking, "writer")


def test_a_reply_that_is_cut_off_loses_only_its_last_item() -> None:
    def cut(request: Request) -> str | Reply:
        if request.purpose == "instructions":
            return Reply(f"1. Describe amber number {request.sample} well.\n2. Describe the b", "length", contains=2)
        return "no" if request.purpose == "classification" else "Output: x"

    outcomes = run(self_instruct(count=1), SEEDS, Fake(cut))
    assert [row.notes["contains"] for row in made(outcomes)] == [2]
    (broken,) = [o.row for o in outcomes if isinstance(o, Rejected) and o.reason == "cut off"]
    assert broken.instruction == "Describe the b"
    assert "item" not in broken.notes
    assert made(outcomes)[0].notes["item"] == 0
    assert "cut off" in reasons(outcomes)
    long = run(
        self_instruct(count=1, patience=2),
        SEEDS,
        Fake(lambda r: Reply("Output: x", "length") if r.purpose == "instances" else writer(r)),
    )
    assert not made(long)
    assert "cut off" in reasons(long)


def evolver(request: Request) -> str:
    last = request.messages[-1][1]
    if request.purpose == "evolve":
        if "s1" in last:
            return "This is the rewritten prompt."
        parent = re.search(r"<instruction>\n(.*)\n</instruction>", last, re.DOTALL)
        assert parent
        return f"#Rewritten Prompt#: {parent[1]}+"
    if request.purpose == "gain":
        return "Equal" if "s2" in last else "Not equal"
    return "I'm sorry, I can't." if last.startswith("s3") else f"Answer to {last}"


def evol(**fields: Any) -> EvolInstruct:
    return EvolInstruct(type="evol_instruct", **fields)


def test_evol_instruct_chains_and_eliminates() -> None:
    rows = [Row(f"r{i}", f"s{i} do something", input="x" if i == 0 else "") for i in range(4)]
    outcomes = run(evol(rounds=3), rows, Fake(evolver))
    assert [(row.id, row.instruction) for row in made(outcomes)] == [
        (f"evol_instruct-r0-{n}", "s0 do something\nx" + "+" * n) for n in (1, 2, 3)
    ]
    assert made(outcomes)[1].notes["parent"] == "evol_instruct-r0-1"
    expected = ["copies words of the prompt", "asks for no more than its parent", "apology"]
    assert reasons(outcomes) == expected * 3
    assert len(made(run(evol(rounds=3, count=2), rows[:1], Fake(evolver)))) == 2
    fake = Fake(evolver)
    assert len(made(run(evol(rounds=2, count=5), rows[:1], fake))) == 2
    assert fake.warned == ["2 of 5 rows were made, fewer than asked for"]


def test_operations_do_not_depend_on_the_other_rows() -> None:
    rows = [Row(f"r{i}", f"t{i} do something") for i in range(70)]
    all_of = {r.id: r.notes["operation"] for r in made(run(evol(rounds=1), rows, Fake(evolver)))}
    alone = made(run(evol(rounds=1), rows[66:67], Fake(evolver)))[0]
    assert all_of[alone.id] == alone.notes["operation"]
    assert set(all_of.values()) == {"constraints", "deepen", "concrete", "reasoning", "input", "breadth"}


def test_backtranslation_uses_each_text_once() -> None:
    def answer(request: Request) -> str:
        last = request.messages[-1][1]
        if request.purpose == "backtranslate":
            if "bees" in last:
                return "I'm sorry, I cannot."
            return "**Instruction:** Tell me of " + ("tides." if "tides" in last else "rain.")
        return "Score: [5]" if "tides" in last else "Rating: 3/5"

    rows = [Row("a", "", output="On tides."), Row("b", "", output="On rain."), Row("c", "", output="On bees.")]
    rows.append(Row("d", "", output=" "))
    fake = Fake(answer)
    outcomes = run(Backtranslation(type="backtranslation", count=3), rows, fake)
    (row,) = made(outcomes)
    assert (row.id, row.instruction, row.output) == ("backtranslation-a", "Tell me of tides.", "On tides.")
    assert row.scores == {"backtranslation": 5.0}
    assert sorted(reasons(outcomes)) == ["apology", "empty text", "low score"]
    assert fake.warned == ["1 of 3 rows were made, fewer than asked for"]
    stage = Backtranslation(type="backtranslation", column="content")
    record = Row("a", "", record={"content": "On tides."})
    assert made(run(stage, [record], Fake(answer)))[0].output == "On tides."
    with pytest.raises(DataError, match="row b: content: expected a text"):
        run(stage, [Row("b", "")], Fake(answer))


def test_magpie_needs_a_model_of_this_process_or_a_header() -> None:
    def answer(request: Request) -> str:
        if request.messages[0][0] == "raw":
            assert request.messages == (("raw", "<user>\n"),)
            return ["How do tides work?", "how do  tides work?", "", "Why is rain wet?"][request.sample % 4]
        return f"Because: {request.messages[0][1]}"

    outcomes = run(Magpie(type="magpie", count=2, header="<user>\n"), [], Fake(answer))
    assert [row.instruction for row in made(outcomes)] == ["How do tides work?", "Why is rain wet?"]
    assert reasons(outcomes) == ["written before", "empty instruction"]
    fake = Fake(answer)
    assert len(made(run(Magpie(type="magpie", count=5, patience=8, header="<user>\n"), [], fake))) == 2
    assert fake.warned == ["2 of 5 rows were made, fewer than asked for"]
    with pytest.raises(ModelError, match="not in this process"):
        run(Magpie(type="magpie", count=2), [], Fake(answer))


TRIPLES = [
    {"subject": "Q1", "relation": "capital", "object": "Q2", "aliases": ["France"], "object_aliases": ["Paris"]},
    {"subject": "Q3", "relation": "located in", "object": "Q4", "aliases": ["Paris"], "object_aliases": ["Texas"]},
    {"subject": "New York City", "relation": "part of", "object": "New York"},
    {"subject": "honey bee", "relation": "makes", "object": "honey"},
    {"subject": "北京", "relation": "首都", "object": "中国"},
]


@pytest.fixture
def triples(tmp_path: Path) -> Path:
    file = tmp_path / "triples.jsonl"
    file.write_text("\n".join(json.dumps(t) for t in TRIPLES), encoding="utf-8")
    return file


def test_entities_are_linked(triples: Path) -> None:
    graph = read_graph(triples)
    assert [m.text for m in mentions("New York City is in New York, not in Newyork.", graph)] == [
        "New York City",
        "New York",
    ]
    assert [m.text for m in mentions("Honey bee or HONEY or honeyed?", graph)] == ["Honey bee"]
    assert statements("北京是中国的首都", graph) == [("北京", "首都", "中国")]
    assert statements("Paris is what France calls its capital.", graph) == [("France", "capital", "Paris")]
    assert statements("Paris lies in Texas.", graph) == [("Paris", "located in", "Texas")]
    assert statements("Paris, Texas, or France: who knows?", graph) == []
    assert statements("Paris alone.", graph) == []


def test_kg_to_instruct(triples: Path) -> None:
    stage = KgToInstruct(type="kg_to_instruct", triples="t.jsonl")
    rows = [
        Row("a", "", output="The honey bee brings honey."),
        *(Row(f"x{i}", "", output=t) for i, t in enumerate(STRANGE)),
    ]
    outcomes = run(stage, rows, Fake(writer), triples=triples)
    (row,) = made(outcomes)
    assert json.loads(row.output) == [["honey bee", "makes", "honey"]]
    assert row.input == "The honey bee brings honey."
    assert "makes" in row.instruction
    assert sum(r in row.instruction for r in ("capital", "located in", "part of", "首都")) == 2
    assert reasons(outcomes) == ["no known statement"] * len(STRANGE)
    triples.write_text('{"subject": "a", "relation": "b"}', encoding="utf-8")
    with pytest.raises(DataError, match="line 1: object: expected a text, it is missing"):
        run(stage, rows, Fake(writer), triples=triples)


@pytest.mark.parametrize("stage", [evol(rounds=1), Backtranslation(type="backtranslation")], ids=lambda s: s.type)
def test_strange_rows_and_replies_stop_no_generator(stage: Stage) -> None:
    rows = [Row(f"r{i}", text, text, text) for i, text in enumerate(STRANGE)]
    for reply in ("Not equal. Score: 5", "\ud800 score: 5 not equal"):
        run(stage, rows, Fake(lambda request, reply=reply: reply))
