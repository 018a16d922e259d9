"""Data sets of lifelong editing: what a record becomes, what is refused, and the real files where they are."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from benchwright.adapters.editing.cases import EditCase
from benchwright.adapters.editing.sentiment.params import ConvSent
from benchwright.adapters.editing.sources.lifelong.params import WikiBigEdit, Wise
from benchwright.adapters.editing.sources.params import CounterFact, EditFile, ZsRE
from benchwright.adapters.editing.sources.splits import normalised
from benchwright.adapters.lm.streams import without_conflicts
from benchwright.api import library
from benchwright.errors import DataError
from benchwright.plan import Options, plan

WISE, BIG = Wise(type="wise", file="f"), WikiBigEdit(type="wikibigedit", file="f")
ARTICLE = {
    "prompt": "Tesla, Inc.,",
    "target_new": "is a company",
    "subject": "Tesla, Inc.,",
    "locality_prompt": "half a",
    "locality_ground_truth": "page",
}
CHANGE = {
    "subject": "Ada",
    "update": "Where does Ada work?",
    "ans": "Oslo",
    "rephrase": "Ada works where?",
    "personas": "Tell me, where does she work, our Ada?",
    "mhop": "In which country does Ada work?",
    "mhop_ans": "Norway",
    "loc": "Where does Bo work?",
    "loc_ans": "Rome",
    "relation_id": "P937",
    "subject_id": "Q1",
}


def load(source: EditFile, tmp_path: Path, content: Any) -> list[EditCase]:
    file = tmp_path / "data.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return source.load({"file": file}, None)


def test_wise(tmp_path: Path) -> None:
    records = [ARTICLE, {**ARTICLE, "ood_rephrase": "Tesla makes cars", "locality_ground_truth": ""}]
    plain, temporal = load(WISE, tmp_path, records)
    assert (plain.articles, temporal.articles) == ((), ("Tesla makes cars",))
    assert (plain.request.prompt, plain.request.target_new) == ("Tesla, Inc.,", "is a company")
    assert plain.locality["other"][0].answers == ("page",)
    assert (plain.rephrases, plain.portability, temporal.locality) == ((), {}, {})


def test_wikibigedit(tmp_path: Path) -> None:
    little = {"subject": "Cy", "update": "Who is Cy?", "ans": "a king", "mhop": None, "personas": None}
    for content in ([CHANGE, little], "\n".join(map(json.dumps, [CHANGE, little]))):
        full, bare = load(BIG, tmp_path, content)
        assert (full.request.target_new, full.request.relation, full.rephrases) == (
            *("Oslo", "P937", ("Ada works where?",)),
        )
        assert {kind: probes[0].answers for kind, probes in full.portability.items()} == {
            "persona": ("Oslo",),
            "two_hop": ("Norway",),
        }
        assert full.locality["other"][0].answers == ("Rome",)
        assert (bare.rephrases, bare.locality, bare.portability) == ((), {}, {})


@pytest.mark.parametrize(
    ("source", "record", "expected"),
    [
        (WISE, {**ARTICLE, "rephrase": "x"}, "record 0 (of 1, from 0): rephrase: expected no such field; WISE's"),
        (WISE, {**ARTICLE, "target_new": ""}, "record 0 (of 1, from 0): target_new: expected a text, got ''"),
        (WISE, {"prompt": "a"}, "target_new: expected a text, it is missing"),
        (BIG, {**CHANGE, "mhop_ans": None}, "record 0 (of 1, from 0): mhop_ans: expected a text, got None"),
        (BIG, {"subject": "a", "ans": "b"}, "update: expected a text, it is missing"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, source: EditFile, record: Any, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        load(source, tmp_path, [record])
    assert expected in str(caught.value)


def test_a_file_that_is_not_the_published_one_is_told_and_used(shared: Path, tmp_path: Path) -> None:
    file = tmp_path / "temporal-edit.json"
    file.write_text(json.dumps([ARTICLE]), encoding="utf-8")
    asked = ["task:wise-ood", "ft-m"]
    with pytest.warns(UserWarning, match="not the published file of wise-ood: SHA-256 .*expected 3c27956224d56111"):
        assert plan(library(), asked, Options(model="stories260k", data=str(file))).cells
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan(library(), asked, Options(model="stories260k", data=str(shared / "data" / "wise")))


def test_the_real_files_of_wise(shared: Path) -> None:
    folder = shared / "data" / "wise"
    for name, count, articles in (("hallucination-edit", 600, 0), ("temporal-edit", 75, 75)):
        cases = WISE.load({"file": folder / f"{name}.json"}, None)
        assert (len(cases), sum(len(c.articles) for c in cases)) == (count, articles)
        assert all(c.request.subject in c.request.prompt for c in cases)


def test_the_real_file_of_convsent(shared: Path) -> None:
    source = ConvSent(type="convsent", file="f")
    cases = source.load({"file": shared / "data" / "knowedit" / "convsent_blender_test.json"}, None)
    assert len({case.request.fact_id for case in cases}) == 800
    assert 350 < sum(case.sentiment == "positive" for case in cases) < 450


@pytest.mark.parametrize(
    ("source", "name", "prompts"),
    [
        (CounterFact(type="counterfact", file="f"), "easyedit_factual/counterfact-edit.json", 62),
        (ZsRE(type="zsre", file="f"), "easyedit_factual/portability_zsre_mend_eval_one_hop_gpt4.json", None),
    ],
)
def test_prompts_of_several_targets_are_edited_to_one(
    shared: Path, source: EditFile, name: str, prompts: int | None
) -> None:
    cases = source.load({"file": shared / "data" / name}, None)
    targets: dict[str, set[str]] = {}
    for case in cases:
        targets.setdefault(case.request.prompt, set()).add(case.request.target_new)
    several = sum(len(found) > 1 for found in targets.values())
    assert prompts in (several, None)
    kept, dropped = without_conflicts(cases, "drop")
    assert len(kept) + len(dropped) == len(cases)
    left: dict[str, set[str]] = {}
    for case in kept:
        left.setdefault(case.request.fact_id, set()).add(case.request.target_new)
    assert max(map(len, left.values())) == 1
    assert len(dropped) >= several


@pytest.mark.parametrize(
    ("kind", "name", "subject"),
    [
        (Wise, "wise/hallucination-edit.json", "subject"),
        (CounterFact, "easyedit_factual/counterfact-val.json", "subject"),
        (ConvSent, "knowedit/convsent_blender_test.json", "ent"),
    ],
)
def test_no_subject_is_in_both_splits(shared: Path, kind: Any, name: str, subject: str) -> None:
    type_ = kind.model_fields["type"].annotation.__args__[0]
    found = [
        {
            normalised(c.request.subject)
            for c in kind(type=type_, file="f", split=s).load({"file": shared / "data" / name}, None)
        }
        for s in ("validation", "test")
    ]
    everything = {normalised(r[subject]) for r in json.loads((shared / "data" / name).read_text(encoding="utf-8"))}
    assert not found[0] & found[1]
    assert found[0] | found[1] == everything
