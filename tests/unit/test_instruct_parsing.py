"""What is read out of a model's reply: items of lists however they are written, scores, fields, JSON."""

from __future__ import annotations

import pytest
from instruct_fixtures import STRANGE

from benchwright.adapters.instruct.generating.evol import gains, instruction_in, useless
from benchwright.adapters.instruct.generating.fields import blocks_in, json_in, last_after, score_in
from benchwright.adapters.instruct.generating.parsing import listed_in
from benchwright.adapters.instruct.generating.self_instruct import instances_in

TWO = ("Name a bird.", "Name a fish.")


@pytest.mark.parametrize(
    "form",
    [
        "1. {}\n2. {}",
        "1) {}\n7) {}",
        "(1) {}\n(2) {}",
        "[1] {}\n[2] {}",
        "1: {}\n2: {}",
        "1 - {}\n2 - {}",
        "1、{}\n2、{}",
        "１．{}\n２．{}",
        "1\\. {}\n2\\. {}",
        "No. 1: {}\nNo. 2: {}",
        "1. {}\n1. {}",
        "**1.** {}\n**2.** {}",
        "**1. {}**\n**2. {}**",
        "1. **{}**\n2. **{}**",
        '1. "{}"\n2. "{}"',
        "### 1. {}\n### 2. {}",
        "### Task 1\n{}\n### Task 2\n{}",
        "### Task 1\n**Instruction:** {}\n\n### Task 2\n**Instruction:** {}",
        "**Task 1:** {}\n**Task 2**: {}",
        "Instruction: {}\nInstruction: {}",
        "INSTRUCTION: {}\n\nINSTRUCTION: {}",
        "9. Instruction: {}\n###\n12. instruction: {}\n###",
        "###\n9. Instruction: {}\n###\n10. Instruction: {}",
        "{}\n###\n10. Instruction: {}",
        "9. Instruction: {} ### 10. Instruction: {}",
        "1. Instruction: {}\n1. Input: x\n1. Output: y\n2. Instruction: {}\n2. Input: z",
        "7. Instruction:\n{}\n8. Instruction:\n{}",
        "- {}\n- {}",
        "* **Instruction:** {}\n* **Instruction:** {}",
        "① {}\n② {}",
        "a) {}\nb) {}",
        "| 1 | {} |\n| 2 | {} |",
        "{}\n{}",
        "{}\n\n{}",
        "{}\n---\n{}",
        "Sure! Here are two tasks:\n\n1. {}\n2. {}\n\nLet me know if you want more.",
        "## Easy\n1. {}\n\n## Hard\n1. {}",
        "Here they are:\n```\n1. {}\n2. {}\n```\nI hope this helps.",
        '["{}", "{}"]',
        '```json\n["{}", "{}"]\n```',
        'Here you go:\n[{{"instruction": "{}"}},\n {{"Instruction": "{}"}}]',
        '{{"tasks": [{{"task": "{}"}}, {{"task": "{}"}}]}}',
        '{{"instruction": "{}"}}\n{{"instruction": "{}"}}',
        "1. {}\r\n2. {}",
    ],
)
def test_items_are_found_however_they_are_written(form: str) -> None:
    assert listed_in(form.format(*TWO)).items == TWO


def test_a_list_inside_an_item_belongs_to_it() -> None:
    assert listed_in("1. Sort:\n   1. x\n   2. y\n2. Next").items == ("Sort:\n   1. x\n   2. y", "Next")
    assert listed_in("1. Sort:\n1. x\n2. y\n3. z\n2. Next").items == ("Sort:\n1. x\n2. y\n3. z", "Next")
    assert listed_in("1. Fix:\n```\n# 1. x\n1. y\n```\n2. Next").items == ("Fix:\n```\n# 1. x\n1. y\n```", "Next")
    assert listed_in("1. Use 2.5 cups at 10:30.\n2. Next").items == ("Use 2.5 cups at 10:30.", "Next")


def test_what_was_cut_off_is_dropped_and_told() -> None:
    found = listed_in("1. Whole.\n2. Hal", "length")
    assert (found.items, found.cut) == (("Whole.",), ("Hal",))
    assert listed_in("1. Whole.\n2. Whole too.\n###\n", "length").items == ("Whole.", "Whole too.")
    assert listed_in('["Whole.", "Hal', "length").items == ("Whole.",)
    assert len(listed_in('["Whole.", "Hal', "length").cut) == 1
    assert listed_in('["Whole.", "Whole too."]', "length").cut == ()


@pytest.mark.parametrize("text", [*STRANGE, "#" * 50_000, "[" * 50_000, "score" + " " * 50_000 + "x", "1.\n" * 9000])
def test_no_reply_is_too_strange(text: str) -> None:
    for reason in ("stop", "length"):
        listed_in(text, reason)
    json_in(text)
    score_in(text, 1, 5)
    blocks_in(text, {"input": "input"})
    last_after(text, ("answer",))
    useless(text)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Good.\nScore: 5", 5),
        ("Score: [5]", 5),
        ("**Score:** 5", 5),
        ("SCORE: 5", 5),
        ("Rating: 5/5", 5),
        ("Rating 4 out of 5", 4),
        ('{"score": 4, "why": "x"}', 4),
        ('{"why": "x", "Score": "3"}', 3),
        ("Score (1-5): **4**", 4),
        ("A score of 3 would be low.\nScore: 4.5.", 4.5),
        ("评分：4", 4),
        ("$\\boxed{4}$ score: \\boxed{2}", 2),
        (" 4\n", 4),
        ("4/5", 4),
        ("Score: 45", None),
        ("Score: 8/10", None),
        ("Score: -1", None),
        ("Score: 0", None),
        ("Score: 1-5", None),
        ("Score: 4, finally score: 9", None),
        ("Score: five", None),
        ("I like 4 of it", None),
        ("", None),
    ],
)
def test_scores(text: str, score: float | None) -> None:
    assert score_in(text, 1, 5) == score


def test_fields() -> None:
    assert instances_in("Sure.\n**Input:** a\nb\n**Output:**\nc\n\nd") == [("a\nb", "c\n\nd")]
    assert instances_in("input: <noinput>\noutput: x") == [("", "x")]
    assert instances_in("Input: none\nResponse: x") == [("", "x")]
    assert instances_in("Louvre, Orsay.") == [("", "Louvre, Orsay.")]
    assert instances_in("Label: even\nInput: 2\nLabel: odd\nInput: 3", True) == [("2", "even"), ("3", "odd")]
    assert instances_in("no idea", True) == []
    assert instruction_in("#Rewritten Prompt#: Name it.") == instruction_in('"Name it."') == "Name it."
    assert instruction_in("INSTRUCTION: Name it.\nplease") == "Name it.\nplease"
    assert (gains("Not Equal"), gains("**Equal**"), gains("They differ."), gains("hm")) == (True, False, True, None)
