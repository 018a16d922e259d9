"""Rules for spoiled answers: what each finds, and what none may find."""

from __future__ import annotations

import pytest
from instruct_fixtures import LONG, ODD

from benchwright.adapters.instruct.methods.lexical import Rules
from benchwright.adapters.instruct.rows import Rejected, Row
from benchwright.adapters.instruct.rules import RULES, broken
from benchwright.adapters.instruct.stage import Workbench

PROSE = "The river rises in the mountains and runs through four countries. It ends in the sea near a large harbour."
FINE = [
    ("Name a river in Europe.", "The Rhine"),
    ("What is two and two?", "4"),
    ("Which sign is missing?", "[]"),
    ("Does the river end in the sea?", "Yes, the river does end in the sea"),
    ("Write about the river.", PROSE),
    ("List three rivers.", "- the Rhine\n- the Elbe\n- the Oder"),
    ("Write an apology.", "I'm sorry, but I cannot come to your party on Sunday."),
    ("Write a tweet.", "We are so happy to see all of you here today! #river #sea"),
    ("Find a quote.", '"All rivers run into the sea, and yet the sea is not full." - Ecclesiastes'),
    ("Print the numbers.", "```python\nfor i in range(3):\n    print(i)\n```"),
    ("Write a query.", "SELECT name FROM rivers WHERE length > 100;"),
    ("Make a page about rivers in HTML.", "<div><p>Rivers</p><p>Seas</p><br><a href='x'>more</a></div>"),
    (
        "Make an outline.",
        "I. Introduction\nA. Definition of rivers\nB. Overview of the sea\nII. End\nA. Summary of the river",
    ),
    ("Which grade did you get in class?", "I got an A in the class, and the US won."),
    ("Translate into Russian: the river", "Река начинается в горах и течёт через четыре страны."),
    ("请写一首关于春天的诗，要短一点。", "春天来了，花儿开了。"),
    ("春について書いてください。お願いします。", "春が来ました。花が咲いています。とてもきれいです。"),
    ("Sing.", "la la la"),
]
SPOILED = [
    ("empty", "Name a river.", " \n"),
    ("empty", "Name a river.", "N/A"),
    ("empty", "Name a river.", "<nooutput>"),
    ("echo", "Name the longest river in Europe.", "Name the longest river in Europe"),
    ("refusal", "Name a river.", "I'm sorry, but I can't help with that."),
    ("refusal", "Name a river.", "As an AI language model, I do not know any rivers."),
    ("refusal", "写一首诗", "很抱歉，我无法完成这个请求。"),
    ("truncated", "Write about the river.", PROSE + " Ships carry coal and grain from the"),
    ("truncated", "Write about the river.", PROSE + " Ships carry coal"),
    ("truncated", "List three rivers.", "The three longest rivers are the following:"),
    ("truncated", "Write code.", "```python\nprint(1)"),
    ("repetition", "Write about the river.", "The river is long. " * 12),
    ("repetition", "写一首关于春天的诗。", "春天来了" * 20),
    ("web", "Write about the river.", PROSE + "<br><br/><a href='/x'>Home</a>"),
    ("web", "Write about the river.", PROSE + " All rights reserved. We use cookies to help you."),
    ("noise", "Write about the river.", "The r!ver r#ses in the mo$nt%ins and r~ns thr^ugh f*ur countr!es."),
    ("noise", "Write about the river.", "Il a Ã©tÃ© dÃ©jÃ  lÃ ."),
    (
        "salad",
        "Write about the river.",
        "Mountains the in rises river the. And a through countries the four it runs an of.",
    ),
    ("wrong_script", "Write a short text about the river.", "Река начинается в горах и течёт через четыре страны."),
]


@pytest.mark.parametrize(("asked", "answer"), FINE, ids=range(len(FINE)))
def test_ordinary_answers_break_no_rule(asked: str, answer: str) -> None:
    assert broken(Row("0", asked, output=answer), list(RULES)) is None


@pytest.mark.parametrize(("rule", "asked", "answer"), SPOILED, ids=[f"{r}-{i}" for i, (r, *_) in enumerate(SPOILED)])
def test_a_spoiled_answer_breaks_its_rule_unless_that_is_switched_off(rule: str, asked: str, answer: str) -> None:
    row = Row("0", asked, output=answer)
    (outcome,) = Rules(type="rules").run(iter([row]), Workbench(0))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == rule
    off = Rules.model_validate({"type": "rules", rule: False})
    assert not any(isinstance(o, Rejected) and o.reason == rule for o in off.run(iter([row]), Workbench(0)))


def test_every_rule_has_a_switch() -> None:
    assert list(RULES) == [name for name in Rules.model_fields if name not in ("type", "name")]


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_trips_over_an_odd_or_long_answer(rule: str) -> None:
    for text in (*ODD, *LONG):
        assert RULES[rule](Row("0", "Name a long river.", output=text)) in (True, False)
        assert RULES[rule](Row("0", text, output="The Rhine is long.")) in (True, False)
