"""Edit cases from files: what each format becomes, what is refused and how it is said, and splits without overlap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchwright.adapters.editing.cases import EditCase, Probe
from benchwright.adapters.editing.sources.params import CounterFact, EditFile, EditRequests, KnowEdit, ZsRE
from benchwright.adapters.editing.sources.splits import VALIDATION_SHARE, in_validation, normalised
from benchwright.canonical import place, ranked
from benchwright.errors import DataError

KNOWEDIT = KnowEdit(type="knowedit", file="f")
COUNTERFACT = CounterFact(type="counterfact", file="f")
ZSRE = ZsRE(type="zsre", file="f")
REQUESTS = EditRequests(type="edit_requests", file="f")
GOOD: dict[str, Any] = {"prompt": "p s", "subject": "s", "target_new": "t"}


def load(source: EditFile, tmp_path: Path, content: Any, limit: int | None = None) -> list[EditCase]:
    file = tmp_path / "data.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return source.load({"file": file}, limit)


def probe(prompt: str, *answers: str) -> Probe:
    return Probe(prompt, answers, frozenset({normalised(prompt)}))


def message(source: EditFile, tmp_path: Path, content: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(source, tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "data.json"))
    return str(caught.value).removeprefix(f"{tmp_path / 'data.json'}: ")


def test_knowedit(tmp_path: Path) -> None:
    records = [
        {
            **GOOD,
            "ground_truth": ["old", "older"],
            "rephrase_prompt": "r",
            "locality": {
                "Relation_Specificity": [{"prompt": "L?", "ground_truth": [["a", "b"], "c"]}],
                "mine": [{"prompt": "m", "ground_truth": "x"}],
                "yours": [{"prompt": "y", "ground_truth": "z"}],
                "Forgetfulness": [],
            },
            "portability": {"Reasoning": [{"prompt": "h", "ground_truth": "x"}]},
        },
        {**GOOD, "ground_truth": "", "portability": None, "cond": "ignored"},
    ]
    first, second = load(KNOWEDIT, tmp_path, records)
    assert (first.request.target_true, first.request.fact, first.rephrases) == ("old", "p s", ("r",))
    assert first.locality == {
        "same_subject": (probe("L?", "a", "b", "c"),),
        "other": (probe("m", "x"), probe("y", "z")),
    }
    assert first.locality["same_subject"][0].facts == {"l"}
    assert first.portability == {"two_hop": (probe("h", "x"),)}
    assert (second.request.id, second.request.target_true, second.portability) == ("000001", None, {})
    assert len(load(KNOWEDIT, tmp_path, records, limit=1)) == 1


def test_knowedit_s_other_formats(tmp_path: Path) -> None:
    biography = {"text": "About ada. She", "labels": "was.", "concept": "ada", "locality": {}}
    (case,) = load(KNOWEDIT, tmp_path, [biography])
    assert (case.request.prompt, case.request.subject, case.request.target_new) == ("About ada. She", "ada", "was.")

    forget = [
        {"question": f"q{i}?", "subject": f"q{i}", "ground_truth": "a", "target_new": "No idea."} for i in range(2)
    ]
    keep = [{"question": f"k{i}?", "ground_truth": f"a{i}"} for i in range(5)]
    first, second = load(KNOWEDIT, tmp_path, {"K_F": forget, "K_R": keep})
    assert (first.request.subject, first.request.target_new, first.request.target_true) == ("q0", "No idea.", "a")
    # Each kept question is asked once.
    assert [p.prompt for p in first.locality["other"]] == ["k0?", "k2?", "k4?"]
    assert [p.prompt for p in second.locality["other"]] == ["k1?", "k3?"]
    for record in forget:
        del record["subject"]
    assert load(KNOWEDIT, tmp_path, {"success": forget, "locality": keep})[0].request.subject == "q0?"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"prompt": ""}, "record 1 (of 2, from 0): prompt: expected a text, got ''"),
        ({"subject": 3}, "record 1 (of 2, from 0): subject: expected a text, got 3; put it in quotes"),
        ({"target_new": "\ud800"}, "target_new: expected Unicode text, got half a character at 0"),
        ({"locality": [1]}, "record 1 (of 2, from 0): locality: expected a map of lists"),
        ({"locality": {"k": 1}}, "record 1 (of 2, from 0): locality.k: expected a list"),
        ({"locality": {"k": [{}]}}, "record 1 (of 2, from 0): locality.k.0: expected a map with a text `prompt`"),
        ({"locality": {"k": [{"prompt": " "}]}}, "locality.k.0.prompt: expected a text, got ' '"),
        ({"portability": {"k": [{"prompt": "x"}]}}, "portability.k.0.ground_truth: expected a text or a list of texts"),
        ({"portability": {"k": [{"prompt": "x", "ground_truth": [["a", 3]]}]}}, "k.0.ground_truth: expected a text"),
        ({"rephrase_prompt": 3}, "record 1 (of 2, from 0): rephrase_prompt: expected a text, got 3"),
        ({"ent": "x", "pos": [], "neg": []}, "ConvSent is not supported as facts: it edits a sentiment"),
    ],
)
def test_knowedit_names_record_and_field(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    assert expected in message(KNOWEDIT, tmp_path, [GOOD, {**GOOD, **change}])


def test_files_that_are_no_lists_of_records(tmp_path: Path) -> None:
    assert message(KNOWEDIT, tmp_path, "{") == (
        "cannot be read as JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"
    )
    assert message(KNOWEDIT, tmp_path, []) == "expected a JSON list of records"
    assert message(KNOWEDIT, tmp_path, [3]) == "record 0 (of 1, from 0): (all): expected a map, got 3"
    assert "or a map with 'K_F' and 'K_R' or 'success' and 'locality'" in message(KNOWEDIT, tmp_path, {"a": 1})
    assert message(KNOWEDIT, tmp_path, {"K_F": [GOOD]}) == "K_R: expected a JSON list of records"
    with pytest.raises(DataError, match=r"nowhere\.json: cannot be read as UTF-8 text"):
        KNOWEDIT.load({"file": tmp_path / "nowhere.json"}, None)


FLAT = {
    **GOOD,
    "case_id": 7,
    "ground_truth": "old",
    "rephrase_prompt": "r",
    "locality_prompt": "l",
    "locality_ground_truth": "old",
}
ORIGINAL = {
    "case_id": 8,
    "requested_rewrite": {
        "prompt": "{} plays {the}",
        "subject": "Ada",
        "relation_id": "P1",
        "target_new": {"str": "oboe", "id": "Q1"},
        "target_true": {"str": "lute"},
    },
    "paraphrase_prompts": ["a", "b"],
    "neighborhood_prompts": ["n"],
    "attribute_prompts": ["unused"],
}


def test_counterfact_in_both_forms(tmp_path: Path) -> None:
    added = {
        "portability": {"New Question": "q", "New Answer": "a", "Recalled Relation": "unused"},
        "alternative_subject": "A. L.",
        "unrelated_relation": {"question": "u", "object": "o"},
        "distracting_neighborhood_prompts": ["d"],
    }
    flat, plain, full = load(COUNTERFACT, tmp_path, [FLAT, ORIGINAL, {**ORIGINAL, **added, "case_id": "x"}])
    assert (flat.request.id, flat.request.target_true, flat.rephrases) == ("7", "old", ("r",))
    assert flat.locality == {"neighbourhood": (probe("l", "old"),)}
    request = plain.request
    assert (request.prompt, request.target_new, request.target_true) == ("Ada plays {the}", "oboe", "lute")
    assert (request.id, request.relation, plain.rephrases, plain.portability) == ("8", "P1", ("a", "b"), {})
    assert plain.locality == {"neighbourhood": (probe("n", "lute"),)}
    assert full.portability == {"two_hop": (probe("q", "a"),), "alias": (probe("A. L. plays {the}", "oboe"),)}
    assert full.locality == plain.locality | {"distracting": (probe("d", "lute"),), "same_subject": (probe("u", "o"),)}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({**FLAT, "case_id": 8}, "record 1 (of 2, from 0): case_id: expected an id of its own, got '8' as in record 0"),
        ({**FLAT, "case_id": None}, "case_id: expected a text or a whole number, got None"),
        ({**FLAT, "ground_truth": None}, "ground_truth: expected a text, got None"),
        ({"requested_rewrite": []}, "requested_rewrite: expected a map, got []"),
        ({"requested_rewrite": {"prompt": "x", "subject": "y"}}, "requested_rewrite: prompt: expected `{}` where"),
        ({"requested_rewrite": {"prompt": "{}", "subject": "y"}}, "requested_rewrite: target_new: expected a map, it"),
        ({**ORIGINAL, "case_id": 1, "paraphrase_prompts": ["a", 2]}, "paraphrase_prompts.1: expected a text, got 2"),
    ],
)
def test_counterfact_names_record_and_field(tmp_path: Path, record: dict[str, Any], expected: str) -> None:
    assert expected in message(COUNTERFACT, tmp_path, [ORIGINAL, record])


def test_zsre_edits_towards_the_wrong_answer_or_the_right_one(tmp_path: Path) -> None:
    record = {"src": "q s", "subject": "s", "alt": "new", "answers": ["old", "older"], "rephrase": "r"}
    record |= {"loc": "nq question: l", "loc_ans": "a"}
    added = {"alter_subject_question": "q S", "inverse question": "i"}
    records = [record, {**record, "alt": ""}, {**record, **added}]
    plain, full = load(ZSRE, tmp_path, records)
    assert (plain.request.target_new, plain.request.target_true, plain.rephrases) == ("new", "old", ("r",))
    assert plain.locality == {"other": (probe("nq question: l", "a"),)}
    assert (full.request.id, full.portability) == (
        "000002",
        {"alias": (probe("q S", "new"),), "inverse": (probe("i", "s"),)},
    )
    rome = load(ZsRE(type="zsre", file="f", style="rome"), tmp_path, records)
    assert len(rome) == 3
    assert (rome[2].request.target_new, rome[2].request.target_true, rome[2].portability) == ("old", None, {})
    assert rome[0].locality["other"][0].prompt == "nq question: l?"
    assert "answers: expected a text or a list of texts" in message(ZSRE, tmp_path, [{**record, "answers": []}])


def test_requests_of_one_s_own(tmp_path: Path) -> None:
    full = {
        **GOOD,
        "case_id": "mine",
        "ground_truth": "old",
        "rephrase": "r",
        "paraphrases": ["r2"],
        "locality_prompt": "l",
        "locality_answer": ["a", "b"],
        "locality": {"neighbourhood": [{"prompt": "n", "ground_truth": "x"}]},
        "portability_prompt": "h",
        "portability_answer": "c",
    }
    lines = "\ufeff" + "\n\n".join(
        json.dumps(r, ensure_ascii=False) for r in (full, {**GOOD, "target_new": "Zoë\u2028"})
    )
    first, second = load(REQUESTS, tmp_path, lines + "\n")
    assert (first.request.id, first.request.target_true, first.rephrases) == ("mine", "old", ("r", "r2"))
    assert first.locality == {"neighbourhood": (probe("n", "x"),), "other": (probe("l", "a", "b"),)}
    assert first.portability == {"other": (probe("h", "c"),)}
    assert (second.request.id, second.request.target_new) == ("1", "Zoë\u2028")
    assert load(REQUESTS, tmp_path, [full]) == [first]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "expected records, the file is empty"),
        ('\n{"prompt": 3', "line 2: cannot be read as JSON"),
        ("\n[]", "expected a JSON list of records"),
        ("7", "line 1: (all): expected a map, got 7"),
        ([{**GOOD, "rephase": "x"}], "record 0 (of 1, from 0): unknown field 'rephase'; did you mean 'rephrase'?"),
        ([{**GOOD, "subject": "S"}], "subject: expected words of the prompt, got 'S'; write it as it stands there"),
        ([{**GOOD, "locality_prompt": "x"}], "locality_answer: expected a text or a list of texts"),
        ([{**GOOD, "case_id": True}], "case_id: expected a text or a whole number, got True"),
        ([{**GOOD, "case_id": 1}, GOOD], "record 1 (of 2, from 0): case_id: expected an id of its own, got '1'"),
        ([{"prompt": "p", "subject": "p"}], "target_new: expected a text, it is missing"),
        ([{**GOOD, "ground_truth": 1998}], "ground_truth: expected a text, got 1998; put it in quotes"),
    ],
)
def test_requests_say_what_is_wrong(tmp_path: Path, content: Any, expected: str) -> None:
    assert expected in message(REQUESTS, tmp_path, content)


def test_no_subject_is_in_both_splits(tmp_path: Path) -> None:
    # Each subject twice, in other words of itself.
    records = [{**GOOD, "prompt": f"p {s}", "subject": s} for i in range(200) for s in (f"Name {i}", f" nAME  {i}.")]
    parts = {
        split: load(KnowEdit(type="knowedit", file="f", split=split), tmp_path, records)
        for split in ("all", "validation", "test")
    }
    of = {split: {normalised(c.request.subject) for c in cases} for split, cases in parts.items()}
    assert not of["validation"] & of["test"]
    assert of["validation"] | of["test"] == of["all"]
    assert len(parts["validation"]) + len(parts["test"]) == len(parts["all"]) == 400
    assert len(of["validation"]) / 200 == pytest.approx(VALIDATION_SHARE, abs=0.06)
    # A request keeps the id that it has in the whole file.
    assert all(c in parts["all"] for c in parts["test"])
    inside = min(of["validation"])
    only = [{**GOOD, "prompt": inside, "subject": inside}]
    with pytest.raises(DataError, match="no record is in the split 'test'"):
        load(KnowEdit(type="knowedit", file="f", split="test"), tmp_path, only)


def test_a_split_is_the_same_on_every_machine() -> None:
    assert place("subject", "ada lovelace") == pytest.approx(0.6499623, abs=1e-7)
    assert [i for i in range(20) if in_validation(f"name {i}")] == [4, 6, 8, 10, 13]
    assert ranked("abcd", "x") == ranked("dcba", "x") == ["a", "d", "b", "c"]


REAL = [
    (
        KNOWEDIT,
        "knowedit/ZsRE-test-all.json",
        1301,
        {"same_subject": 2602},
        {"two_hop": 771, "alias": 263, "logical": 267},
    ),
    (
        KNOWEDIT,
        "knowedit/wiki_counterfact_train.json",
        1427,
        {"same_subject": 1253, "forgetfulness": 781},
        {"two_hop": 503, "alias": 1409, "logical": 304},
    ),
    (
        KNOWEDIT,
        "knowedit/wiki_recent_train.json",
        570,
        {"same_subject": 1641, "forgetfulness": 298},
        {"two_hop": 476, "alias": 52, "logical": 223},
    ),
    (KNOWEDIT, "knowedit/wikibio-test-all.json", 306, {"same_subject": 612}, {}),
    (KNOWEDIT, "knowedit/trivia_qa_train.json", 80, {"other": 453}, {}),
    (KNOWEDIT, "knowedit/trivia_qa_test.json", 80, {"other": 453}, {}),
    (COUNTERFACT, "easyedit_factual/counterfact-val.json", 1919, {"neighbourhood": 1919}, {}),
    (
        COUNTERFACT,
        "easyedit_factual/portability_counterfact_subject_replace.json",
        213,
        {"neighbourhood": 2130},
        {"alias": 213},
    ),
    (ZSRE, "zsre_train_1k/zsre_mend_train-1k.json", 998, {"other": 998}, {}),
    (ZSRE, "easyedit_factual/portability_zsre_inverse_relation.json", 385, {}, {"inverse": 385}),
    (REQUESTS, "../fixtures/editing/requests.json", 10, {"other": 10}, {"other": 10}),
]


@pytest.mark.parametrize(("source", "name", "count", "locality", "portability"), REAL, ids=[r[1] for r in REAL])
def test_real_files_are_read_whole(
    shared: Path, source: EditFile, name: str, count: int, locality: dict[str, int], portability: dict[str, int]
) -> None:
    cases = source.load({"file": shared / "data" / name}, None)
    assert len(cases) == len({c.request.id for c in cases}) == count
    for measure, expected in (("locality", locality), ("portability", portability)):
        found: dict[str, int] = {}
        for case in cases:
            for kind, probes in getattr(case, measure).items():
                found[kind] = found.get(kind, 0) + len(probes)
        assert found == expected


def test_the_sentiment_set_is_refused(shared: Path) -> None:
    with pytest.raises(DataError, match="ConvSent is not supported as facts: it edits a sentiment"):
        KNOWEDIT.load({"file": shared / "data" / "knowedit" / "convsent_blender_test.json"}, None)
