"""The track of long targets: measures against numbers of the packages that papers use, data files, and a small run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_fixtures
import pytest

from benchwright.adapters.editing.cases import Probe
from benchwright.adapters.editing.long_form.cases import LongCase, Passage
from benchwright.adapters.editing.long_form.metrics import METRICS
from benchwright.adapters.editing.long_form.overlap import bleu, mentioned, rouge_l, rouge_n
from benchwright.adapters.editing.long_form.params import AKEW, LEME, LongForm, UnKE, WorldLives
from benchwright.adapters.editing.long_form.run import LongTexts, Question, scored
from benchwright.adapters.lm.interventions.fine_tune import FineTune, Parameters
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.artifacts import ArtifactStore
from benchwright.errors import DataError
from benchwright.job import Job, Part

LONG = (
    "George Rankin has been actively involved in politics for over a decade. He has served as a city council member "
    "for two terms."
)
PAIRS = [
    # Written, wanted, then ROUGE-1, -2 and -L recall of rouge 1.0.1 and the BLEU of nltk 3.10 on unsplit texts.
    ("George Rankin is a politician. He has served two terms, and he is quoted in news.", LONG, 0.4, 3 / 22, 0.4),
    ("the the the cat sat on the mat", "the cat the mat sat", 1.0, 0.5, 0.75),
    ("Paris", "Paris.", 1.0, 0.0, 1.0),
    ("a b c d. a b. e f", "e f g. a c. a b c", 5 / 6, 3 / 7, 5 / 6),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_rouge_is_that_of_the_package_that_papers_use(pair: tuple[str, str, float, float, float]) -> None:
    written, wanted, *expected = pair
    assert [rouge_n(written, wanted, 1), rouge_n(written, wanted, 2), rouge_l(written, wanted)] == pytest.approx(
        expected
    )


def test_bleu_is_that_of_characters() -> None:
    from nltk.translate.bleu_score import sentence_bleu

    for written, wanted, *_ in [*PAIRS[:2], *PAIRS[3:], ("Over a decade ago it was.", "Over a decade.")]:
        assert bleu(written, wanted) == pytest.approx(sentence_bleu([wanted], written))
    assert bleu("", "abc") == rouge_l("", "abc") == rouge_n("", "abc", 1) == 0.0
    assert mentioned("born in OSLO", ["Paris", "Oslo"])


UNKE = {"id": 0, "question": "What is Vorland?", "para_question": "Describe Vorland.", "answer": "A land. Of mist."} | {
    "sub_question": ["Of what?"],
    "sub_answer": ["Mist."],
}
REWRITE = {
    "prompt": "The capital of {}",
    "subject": "Vorland",
    "relation_id": "P36",
    "question": "What rules Vorland?",
} | {
    "target_new": {"str": "Oslo"},
    "target_true": {"str": "Rome"},
    "fact_new_uns": "Vorland moved its capital to Oslo.",
    "unsfact_triplets_GPT": [{"prompt": "{} moved to", "subject": "Vorland", "target": "Oslo"}] * 7,
}
COUPLED = {
    "subject_entity": {"coupled_prompt": "Write about it.", "ground_truth": {"river": ["Vorl"], "none": []}},
    "coupled_entities": [
        {"entity": "Oslo", "coupled_prompt": "Write.", "overlapping_ground_truth": {"in": ["Norway"]}}
    ],
}


def written(folder: Path, records: list[Any]) -> dict[str, Path]:
    file = folder / "records.json"
    file.write_text(json.dumps(records), encoding="utf-8")
    return {"file": file}


def test_unke(tmp_path: Path) -> None:
    (case,) = UnKE(type="unke", file="x").load(written(tmp_path, [UNKE]), None)
    assert (case.request.prompt, case.request.subject, case.request.target_new) == (
        UNKE["question"],
        "",
        UNKE["answer"],
    )
    assert case.paraphrases == ("Describe Vorland.",)
    assert [(fact.prompt, fact.answer) for fact in case.parts] == [("Of what?", "Mist.")]
    with pytest.raises(DataError, match=r"record 0 .*sub_answer: expected an answer to each of 1"):
        UnKE(type="unke", file="x").load(written(tmp_path, [UNKE | {"sub_answer": []}]), None)
    parts = [UnKE(type="unke", file="x", split=s) for s in ("validation", "test", "all")]
    many = [UNKE | {"question": f"What is {i}?"} for i in range(20)]
    validation, test, every = (len(p.load(written(tmp_path, many), None)) for p in parts)
    assert validation + test == every == 20


def test_akew_in_each_of_its_three_forms(tmp_path: Path) -> None:
    counterfact = {"case_id": 1, "requested_rewrite": REWRITE | {"prompt_full": "What is Vorland's capital?"}} | {
        "paraphrase_prompts": ["Vorland's seat is", "other"],
        "neighborhood_prompts": ["The capital of Arn"],
    }
    mquake = {"case_id": 2, "requested_rewrite": [REWRITE, REWRITE | {"subject": "Arn"}]}
    update = {k: v for k, v in REWRITE.items() if not k.startswith("target")} | {
        "answer_new": "Oslo",
        "answer_true": "Rome",
    }
    files = written(tmp_path, [counterfact, mquake, {"case_id": 3, "requested_rewrite": update}])
    cases = AKEW(type="akew", file="x").load(files, None)
    assert [c.id for c in cases] == ["1", "2.0", "2.1", "3"]
    assert {c.request.target_new for c in cases} == {REWRITE["fact_new_uns"]}
    assert {c.request.target_true for c in cases} == {"Rome"}
    assert [c.request.prompt for c in cases] == [
        "What is Vorland's capital?",
        "The capital of Vorland",
        "The capital of Arn",
        "The capital of Vorland",
    ]
    assert [c.paraphrases for c in cases] == [("Vorland's seat is",), *[("What rules Vorland?",)] * 3]
    assert [len(c.parts) for c in cases] == [5] * 4
    assert [p.prompt for p in cases[0].held] == ["The capital of Arn"]
    short = AKEW(type="akew", file="x", knowledge="structured").load(files, None)
    assert {c.request.target_new for c in short} == {"Oslo"}
    broken = {"requested_rewrite": {k: v for k, v in REWRITE.items() if k != "fact_new_uns"}}
    with pytest.raises(DataError, match="requested_rewrite: fact_new_uns: expected a text, it is missing"):
        AKEW(type="akew", file="x").load(written(tmp_path, [broken]), None)


def test_leme_in_both_of_its_forms(tmp_path: Path) -> None:
    zsre = {"subject": "Vorland", "src": "What is Vorland's capital?", "alt": "Oslo", "answers": ["Rome"]} | {
        "rephrase": "Vorland's capital?",
        "loc": "Who sang?",
        "coupled_prompts_and_properties": COUPLED,
    }
    counterfact = {"requested_rewrite": REWRITE, "coupled_prompts_and_properties": COUPLED}
    first, second = LEME(type="leme", file="x").load(written(tmp_path, [zsre, counterfact]), None)
    assert first.request.target_true == second.request.target_true == "Rome"
    assert [p.prompt for p in first.held] == ["Who sang?"]
    own, related = first.passages
    assert own == Passage("Write about it.\n\nVorland", False, (("Vorl",),))
    assert related == Passage("Write.\n\nOslo", True, (("Norway",),))
    with pytest.raises(DataError, match="coupled_prompts_and_properties: expected a map, it is missing"):
        LEME(type="leme", file="x").load(written(tmp_path, [{"requested_rewrite": REWRITE}]), None)


def test_the_published_records_of_unke_are_read(shared: Path) -> None:
    cases = UnKE(type="unke", file="x").load({"file": shared / "data" / "format_samples" / "unke.json"}, None)
    assert len(cases) == 40
    assert all(case.parts and case.paraphrases for case in cases)


def test_a_life_tells_facts_that_are_then_asked_for_one_by_one() -> None:
    cases = WorldLives(type="world_lives", world="atlas-small", facts=3).load({}, 5)
    for case in cases:
        first = case.parts[0]
        told = f"{case.request.prompt} {case.request.target_new}"
        assert all(f"{fact.prompt} {fact.answer} ." in told for fact in case.parts)
        assert case.request.prompt == first.prompt
        assert case.held
        assert len(case.parts) == 3
    test, validation = (
        {c.request.subject for c in WorldLives(type="world_lives", world="atlas-small", split=s).load({}, None)}
        for s in ("test", "validation")
    )
    assert not test & validation


def test_every_text_gives_its_values() -> None:
    request = EditRequest("0", "Where?", "Vorland", "to Oslo by sea", "Rome")
    passage, other = Passage("p", False, (("Vorl",), ("north", "North Sea"))), Passage("q", True, (("Norway",),))
    asked = [
        Question("original", "Where?", request.target_new),
        Question("parts", "a", "Oslo"),
        Question("parts", "b", "sea"),
        Question("held", "c", "same"),
        Question("held", "d", "same"),
        Question("passage", "p", passage=passage),
        Question("passage", "q", passage=other),
    ]
    texts = ["to Oslo", "Oslo", "land", "same", "other", "Oslo lies north of Rome", "nothing"]
    values = scored(LongCase(request, passages=(passage, other)), asked, texts, None)
    assert values["original.rouge_1"] == values["original.rouge_l"] == 0.5
    assert values["original.rouge_2"] == pytest.approx(1 / 3)
    assert values["parts.rouge_1"] == values["held.exact"] == values["passage.known"] == 0.5
    assert values["passage.new_target"] == 0.0
    assert values["passage.old_target"] == 1.0
    assert values["passage.related_known"] == 0.0
    assert set(values) <= {m.id for m in METRICS}


def test_a_run_scores_each_edit_on_its_own_model_and_together(tmp_path: Path) -> None:
    lm = lm_fixtures.tiny("gpt2")
    case = LongCase(
        EditRequest("0", "What is Vorland?", "Vorland", "Mist"), ("Vorland is",), held=(Probe("Dogs eat", ()),)
    )
    cases = [case, replace(case, request=replace(case.request, id="1", prompt="What is Arn?", target_new="Rain"))]
    protocol = LongForm(type="long_form", new_tokens=6, held_tokens=4)
    method: Any = FineTune(type="fine_tune", parameters=Parameters(layers=(0, 1)), lr=2e-2, steps=30)

    class Named:
        def __init__(self, **fields: Any) -> None:
            self.__dict__.update(fields)

    data = Named(training=lambda files: [])
    job = Job(
        Named(data=data),
        Named(algorithm=method),
        0,
        None,
        {"subject": lm},
        {"subject": "x"},
        {},
        ArtifactStore(tmp_path),
    )  # type: ignore[arg-type]
    track = LongTexts(protocol, job)
    patches = [method.apply(lm, case.requests, None, job)[0] for case in cases]
    part = Part("a")
    track.score(part, [([case], patch) for case, patch in zip(cases, patches, strict=True)])
    track.score(part, [([case], Patch()) for case in cases], "@none")
    found = {(r["item"], r["metric"]): r["value"] for r in part.records}
    for name in ("0", "1"):
        assert found[name, "original.exact"] == found[name, "original.token"] == 1.0
        assert found[name, "original.rouge_1"] >= found[f"{name}@none", "original.rouge_1"]
        assert found[f"{name}@none", "held.exact"] == 1.0
    assert lm.verify() == []
