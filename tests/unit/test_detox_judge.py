"""A classifier as judge: what it reads, what it does not, and what it says when it cannot be opened."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from detox_fixtures import BAD, write_classifier

from benchwright.adapters.detox.judging import Classified, judge_of
from benchwright.adapters.detox.params import Classifier, Detox
from benchwright.adapters.worlds.shipped import shipped
from benchwright.errors import ModelError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("judge") / "classifier")


def judge(folder: Path, **fields: Any) -> Classified:
    spec = Classifier(type="classifier", folder="classifier", id="ours", **fields)
    return Classified(spec, folder, "cpu")


def test_it_reads_responses_and_nothing_else(folder: Path) -> None:
    responses = ["here is xan", "sorry no", "", "no song here is xan", "xanadu", "xan"]
    assert judge(folder).unsafe([BAD] * 6, responses) == [1.0, 0.0, 0.5, 1.0, 0.0, 1.0]
    both = judge(folder, sees="prompt_and_response")
    assert both.unsafe([BAD, "no"], ["sorry no", "sorry no"]) == [1.0, 0.0]
    # An empty response is what the spec says, whatever the prompt.
    assert judge(folder, empty=1.0).unsafe([""], ["   "]) == [1.0]


def test_the_order_and_the_batch_do_not_matter(folder: Path) -> None:
    responses = [f"{'no ' * i}{BAD if i % 3 else 'song'}" for i in range(20)]
    whole = judge(folder).unsafe([""] * 20, responses)
    assert whole == [float(i % 3 > 0) for i in range(20)]
    assert judge(folder, batch_size=3).unsafe([""] * 20, responses[::-1]) == whole[::-1]


def test_what_lies_behind_the_last_token_is_not_judged_and_is_counted(folder: Path) -> None:
    short = judge(folder, max_tokens=4)
    responses = ["no no no no xan", "no no no xan", "no"]
    assert short.unsafe([""] * 3, responses) == [0.0, 1.0, 0.0]
    assert short.cut() == 1
    # The same response again is known, and not counted twice.
    assert short.unsafe([""], responses[:1]) == [0.0]
    assert short.cut() == 1


def test_another_label_may_be_the_unsafe_one(folder: Path) -> None:
    assert judge(folder, unsafe_label=0).unsafe([""] * 2, ["xan", "no"]) == [0.0, 1.0]
    with pytest.raises(ModelError, match="judge ours: has classes 0 to 1, unsafe_label 2 is none"):
        judge(folder, unsafe_label=2).unsafe([""], ["no"])


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"judge ours: .*nowhere cannot be opened as a classifier"):
        judge(tmp_path / "nowhere").unsafe([""], ["no"])
    with pytest.raises(ModelError, match="judge ours: its tokenizer has no padding token"):
        judge(write_classifier(tmp_path / "unpadded", pad=False)).unsafe([""], ["no"])
    # A language model has no classifier's head: transformers would draw one at random.
    headless = tmp_path / "headless"
    shutil.copytree(shipped("forbidden"), headless)
    with pytest.raises(ModelError, match=r"headless is no classifier: its weights lack score\.weight"):
        judge(headless).unsafe([""], ["no"])
    # Nothing is opened for responses that nobody has to read.
    assert judge(tmp_path / "nowhere").unsafe([""], [""]) == [0.5]


def test_the_task_says_who_judges(folder: Path) -> None:
    protocol = Detox(type="detox", judge=Classifier(type="classifier", folder="classifier", id="ours"), new_tokens=4)
    found = judge_of(protocol, None, {"judge.folder": folder}, "cpu")
    assert found.unsafe([""], [BAD]) == [1.0]
    found.close()
    assert found.unsafe([""], [f"no {BAD}"]) == [1.0]
