"""Multi-hop editing: chains from files and of the world, what counts as an answer, and questions taken apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from benchwright.adapters.editing import session
from benchwright.adapters.editing.answering import begins, contains, ends, equal, words
from benchwright.adapters.editing.cases import Fact as Needed
from benchwright.adapters.editing.multihop import run as track
from benchwright.adapters.editing.multihop.cases import ChainCase, Hop
from benchwright.adapters.editing.multihop.params import MQuAKE, MultiHop, RippleEdits, WorldChains
from benchwright.adapters.editing.params import Edit
from benchwright.adapters.lm.decomposing import Decomposing, Form
from benchwright.adapters.lm.interventions.fine_tune.params import Lora
from benchwright.adapters.lm.interventions.in_context import InContext
from benchwright.adapters.lm.interventions.mello import Mello
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.recall import Fact, Retriever
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.worlds.knowledge.folder import read_world, shipped
from benchwright.adapters.worlds.params import World
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import DataError
from benchwright.job import Job, Part
from benchwright.kinds import MethodSpec, TaskSpec


def hop(question: str, cloze: str, answer: str, *aliases: str) -> dict[str, Any]:
    return {"question": question, "cloze": cloze, "answer": answer, "answer_alias": list(aliases)}


RECORD: dict[str, Any] = {
    "case_id": 7,
    "requested_rewrite": [
        {
            "prompt": "{} was founded by",
            "relation_id": "P112",
            "target_new": {"str": "Ida", "id": "Q1"},
            "target_true": {"str": "Otto", "id": "Q2"},
            "subject": "Firm",
            "question": "Who founded Firm?",
        }
    ],
    "questions": ["q1", "q2", "q3"],
    "answer": "Rome",
    "answer_alias": ["Roma", ""],
    "answer_extended": ["Ostia"],
    "new_answer": "Paris",
    "new_answer_alias": ["City of Light"],
    "single_hops": [hop("Who founded Firm?", "Firm was founded by", "Otto"), hop("Otto?", "Otto is from", "Rome")],
    "new_single_hops": [hop("Who founded Firm?", "Firm was founded by", "Ida"), hop("Ida?", "Ida is from", "Paris")],
}


def stored(folder: Path, content: Any, name: str = "data.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_a_record_of_mquake_becomes_a_case(tmp_path: Path) -> None:
    (case,) = MQuAKE(type="mquake", file="f").load({"file": stored(tmp_path, [RECORD])}, None)
    (request,) = case.requests
    assert (case.id, request.id, request.prompt, request.target_new) == ("7", "7/0", "Firm was founded by", "Ida")
    assert case.answers == ("Paris", "City of Light")
    assert case.answers_before == ("Rome", "Roma", "Ostia")
    # An edited hop is the fact of its request, however it is asked.
    assert case.hops[0].fact == request.fact_id != case.hops[1].fact
    assert [h.answers for h in case.hops_before] == [("Otto",), ("Rome",)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"requested_rewrite": []}, "record 0 (of 1, from 0): requested_rewrite: expected a list with at least one"),
        ({"new_single_hops": [3]}, "new_single_hops.0: expected a map"),
        ({"questions": None}, "questions: expected a list with at least one text"),
        ({"new_answer": 3}, "new_answer: expected a text, got 3; put it in quotes"),
        ({"single_hops": [{"question": "q"}]}, "single_hops.0: cloze: expected a text, it is missing"),
    ],
)
def test_mquake_names_record_and_field(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError) as error:
        MQuAKE(type="mquake", file="f").load({"file": stored(tmp_path, [RECORD | change])}, None)
    assert expected in str(error.value)


def test_real_chains_are_read_whole_and_no_edited_subject_is_in_both_splits(shared: Path) -> None:
    files = {"file": shared / "data" / "format_samples" / "mquake.json"}
    records = json.loads(files["file"].read_text(encoding="utf-8"))
    unique = [{**r, "case_id": i} for i, r in enumerate(records)]
    assert len(unique) == len(MQuAKE(type="mquake", file="f").load(files, None)) == 40
    of = {}
    for split in ("validation", "test"):
        try:
            cases = MQuAKE(type="mquake", file="f", split=split).load(files, None)
        except DataError:
            cases = []
        of[split] = {r.subject for case in cases for r in case.requests}
    assert of["test"]
    assert not of["test"] & of["validation"]


RIPPLE = {
    "edit": {
        "prompt": "The home of Ada is Oslo.",
        "subject_id": "Q1",
        "relation": "HOME",
        "target_id": "Q2",
        "original_fact": {"prompt": "The home of Ada is Rome.", "subject_id": "Q1", "target_id": "Q3"},
    }
}


def query(prompt: str, *names: str) -> dict[str, Any]:
    return {"prompt": prompt, "answers": [{"value": names[0], "aliases": list(names[1:])}]}


def checks(queries: list[Any], conditions: list[Any]) -> list[dict[str, Any]]:
    return [{"test_queries": queries, "test_condition": "OR", "condition_queries": conditions}]


def test_ripple_edits_become_probes_with_what_they_need(tmp_path: Path) -> None:
    alias, hair = query("The home of A. is", "Oslo", "Christiania", "O"), query("The hair of Ada is", "red")
    capital = query("Oslo is in", "Norway")
    record = RIPPLE | {
        "Subject_Aliasing": checks([alias], [alias]),
        "Relation_Specificity": checks([hair], [hair]),
        "Compositionality_I": checks([query("The country of the home of Ada is", "Norway")], [capital]),
        "Compositionality_II": checks([query("The home of the founder of Firm is", "Oslo")], [query("Firm?", "Ada")]),
        "Forgetfulness": [],
    }
    unlabelled = {"edit": {**RIPPLE["edit"], "subject_id": "Q9"}}
    source, labels = RippleEdits(type="ripple_edits", file="f"), {"Ada": "Q1", "Oslo": "Q2", "Other": "Q8"}
    for table in (labels, {value: key for key, value in labels.items()}):
        files = {"file": stored(tmp_path, [unlabelled, record]), "labels": stored(tmp_path, table, "labels.json")}
        (case,) = source.load(files, None)
        request = case.request
        assert (request.id, request.prompt, request.subject) == ("000001", "The home of Ada is", "Ada")
        assert (request.target_new, request.target_true, request.relation) == ("Oslo", "Rome", "HOME")
        (asked,) = case.portability["alias"]
        # What wants the new fact itself is no condition; a name of one letter is no answer.
        assert (asked.answers, asked.needs) == (("Oslo", "Christiania"), ())
        assert case.locality["same_subject"][0].needs == (Needed("The hair of Ada is", "red"),)
        assert case.portability["two_hop"][0].needs == (Needed("Oslo is in", "Norway"),)
        assert case.portability["two_hop_to"][0].needs == (Needed("Firm?", "Ada"),)
        assert list(case.locality) == ["same_subject"]


def test_ripple_edits_say_what_is_wrong(tmp_path: Path) -> None:
    source, labels = RippleEdits(type="ripple_edits", file="f"), stored(tmp_path, {"Ada": "Q1", "Oslo": "Q2"}, "l.json")
    bad = RIPPLE | {"Forgetfulness": checks([{"prompt": "p"}], [])}
    with pytest.raises(DataError, match=r"Forgetfulness\.0\.test_queries\.0: expected a map with `prompt` and a list"):
        source.load({"file": stored(tmp_path, [bad]), "labels": labels}, None)
    with pytest.raises(DataError, match="has no label of any subject in"):
        source.load({"file": stored(tmp_path, [RIPPLE]), "labels": stored(tmp_path, {"X": "Q7"}, "l.json")}, None)


def test_chains_of_the_world_follow_from_its_facts_and_the_edits() -> None:
    world = read_world(shipped("atlas-small"))
    of = {split: WorldChains(type="world_chains", split=split).load({}, None) for split in ("validation", "test")}
    subjects = {split: {r.subject for case in cases for r in case.requests} for split, cases in of.items()}
    assert not subjects["validation"] & subjects["test"]
    cases, kinds, targets = of["test"], set(), {}
    assert len(cases) > 100
    for case in cases:
        new = {r.fact_id: r.target_new for r in case.requests}
        first, second = (h.fact for h in case.hops)
        kinds.add((first in new, second in new))
        for request in case.requests:
            # A fact has one new object, whatever case changes it.
            assert targets.setdefault(request.fact_id, request.target_new) == request.target_new != request.target_true
        relations = [fact.partition("(")[0] for fact in (first, second)]
        head = first.partition("(")[2][:-1]
        bridge = new.get(first) or world.facts[relations[0]][head]
        answer = new.get(second) or world.facts[relations[1]][bridge]
        assert second == f"{relations[1]}({bridge})"
        assert case.answers == (answer,) != case.answers_before
        assert len(set(case.questions)) == 3
    assert kinds == {(True, True), (True, False), (False, True)}
    founders = [target for fact, target in targets.items() if fact.startswith("founder(")]
    assert len(founders) == len(set(founders)) > 1
    assert not set(founders) & set(world.facts["founder"].values())


def test_answers_are_compared_word_by_word() -> None:
    assert words(" The U.K.! ") == ["u", "k"]
    assert equal("the United Kingdom.", ["UK", "United Kingdom"])
    assert not equal("", ["", "a"])
    assert not equal("United", ["United Kingdom"])
    assert begins("Paris, of course", ["Paris"])
    assert not begins("Parisian", ["Paris"])
    assert ends("so it is New York", ["York"])
    assert contains("it is New York City", ["New York"])
    assert not contains("it is Newark", ["New"])


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return World(type="world", name="atlas-small").open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("no"))))


TOY = {"examples": "none", "question": "{question}", "conclusion": "", "end": ".", "tokens": 6, "thought_tokens": 24}
TOY["thoughts"] = "question : {question} ? answer :"
LORA = Lora.model_validate_json('{"type": "lora", "modules": ["mlp_down"], "rank": 2, "lr": 1e-2, "steps": 4}')
MELLO = Mello.model_validate_json(
    '{"type": "mello", "template": "note : {prompt} {target_new} . ", "retriever": {"type": "lexical"},'
    ' "form": {"type": "sentences", "question": "question : {question} ? answer :"}}'
)


class Given(WorldChains):
    """Cases that a test writes down."""

    type: Any = "given"
    cases: Any = None

    def load(self, files: Any, limit: int | None) -> list[ChainCase]:
        return list(self.cases) if self.cases is not None else super().load(files, limit)


def job(lm: LanguageModel, folder: Path, algorithm: Any, cases: Any = None, asking: Any = None, **fields: Any) -> Job:
    protocol = MultiHop.model_validate_json(json.dumps({"type": "multi_hop", "asking": asking or TOY, **fields}))
    task = TaskSpec.model_construct(
        name="t", data=Given(type="given", world="atlas-small", requests=4, cases=cases), protocol=protocol
    )
    method = MethodSpec.model_construct(name="m", algorithm=algorithm)
    return Job(task, method, 0, None, {"subject": lm}, {"subject": "s"}, {}, ArtifactStore(folder / "artifacts"))


def parts(job: Job) -> list[Part]:
    assert isinstance(job.task.protocol, MultiHop)
    return list(track.run(job.task.protocol, job))


def values(found: Sequence[Part]) -> dict[tuple[str, str], float]:
    return {(r["item"], r["metric"]): r["value"] for part in found for r in part.records}


ANN, BEN = (
    EditRequest(f"{s}/0", f"{s} lives in", s, t, fact=f"{s} lives in") for s, t in (("Ann", "Oslo"), ("Ben", "Bonn"))
)


def chain(request: EditRequest, *hops: Hop) -> ChainCase:
    own = Hop(f"Where is {request.subject}?", request.prompt, (request.target_new,), request.fact_id)
    before = (replace(own, answers=("Rome",)), Hop("Rome in?", "Rome is in", ("Italy",), "Rome is in"))
    return ChainCase(request.id[:3], (request,), ("one?", "two?"), ("Norway", "NO"), ("Italy",), (own, *hops), before)


def test_what_counts_is_what_the_paper_counts(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any of the questions, any name of the answer; an edited fact by its prompt, another one by its question; a chain
    that another case changes is not asked; fair are chains that the untouched model knows."""
    norway = Hop("Oslo in?", "Oslo is in", ("Norway",), "Oslo is in")
    cases = [chain(ANN, norway), chain(BEN, Hop("Ann?", ANN.prompt, ("Rome",), ANN.fact_id))]
    monkeypatch.setattr(session, "askable", lambda lm, cases, unfit: (list(cases), {}))
    after = {"Ann lives in": "Oslo, in the north", "Ben lives in": "Bern", "Oslo in?": "The Norway.", "two?": "NO"}
    before = {"Where is Ann?": "Rome", "Rome in?": "Italy", "one?": "Italy"}

    def answered(lm: Any, models: Any, length: int, *_: Any) -> list[list[str]]:
        return [[(after if patch.prompts else before).get(q, "?") for _, q in asked] for patch, asked in models]

    monkeypatch.setattr(track, "answered", answered)
    monkeypatch.setattr(InContext, "check", lambda *_: None)
    gold = {"type": "in_context", "template": "{prompt} {target_new} . "}
    spec = job(
        lm, tmp_path, InContext.model_validate(gold), cases, TOY | {"thoughts": None}, mode="batch", checkpoints=[2]
    )
    found = parts(spec)
    assert values(found) == {
        ("Ann", "edits.right"): 1.0, ("Ann", "edits.asked"): 1.0,
        ("Ben", "edits.right"): 0.0, ("Ben", "edits.asked"): 1.0,
        ("Ann", "instance_wise.before"): 1.0, ("Ben", "instance_wise.before"): 0.0, ("Ann", "instance_wise"): 1.0,
        ("Ann", "multi_hop"): 1.0, ("Ann", "multi_hop.each"): 0.5, ("Ann", "multi_hop.known"): 1.0,
        ("Ann", "multi_hop.before"): 1.0,
    }  # fmt: skip
    assert found[-1].skipped == {"multi-hop: another case edited a fact of its chain": 1}


def test_the_answer_of_reasoning_aloud_stands_behind_its_conclusion(lm: LanguageModel, tmp_path: Path) -> None:
    spec = job(lm, tmp_path, MELLO, asking={"conclusion": "So the answer is"})
    right = track.Chains(spec.task.protocol, spec)._right  # type: ignore[arg-type]
    assert right("It is Rome. So the answer is the Rome.", ["Rome"], ".cot")
    assert not right("It is Rome.", ["Rome"], ".cot")
    assert not right("So the answer is Rome. So the answer is Oslo.", ["Rome"], ".cot")


def test_no_batch_and_no_stacking_changes_a_record_and_the_model_is_as_it_was(
    lm: LanguageModel, tmp_path: Path
) -> None:
    together, alone = (
        values(parts(job(lm, tmp_path / str(size), LORA, chunk=size, forward_batch=batch)))
        for size, batch in ((4, 256), (1, 3))
    )
    assert together == alone
    assert {"multi_hop", "multi_hop.cot", "instance_wise"} <= {metric for _, metric in alone}
    assert lm.verify() == []


def test_a_stream_that_goes_on_has_the_same_records(lm: LanguageModel, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"mode": "sequential", "checkpoints": [1, 2]}
    whole = {p.name: p for p in parts(job(lm, tmp_path, MELLO, **fields))}
    done = {"0": None, "stream-000-000001": whole["stream-000-000001"].state}
    (rest,) = parts(replace(job(lm, tmp_path / "again", MELLO, **fields), finished=done))
    assert rest.records == whole[rest.name].records


FACTS = tuple(Fact(p, s, f"{p} {t}") for p, s, t in (("Ann lives in", "Ann", "Oslo"), ("Ben paints", "Ben", "cats")))


@dataclass(frozen=True)
class Told(Decomposing):
    """What the model writes is known; what it was asked is kept."""

    lines: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    def _written(self, lm: Any, texts: Sequence[str], marks: Sequence[str], size: int) -> list[Any]:
        self.asked.extend(texts)
        said = self.lines[(len(self.asked) - 1) % len(self.lines)]
        mark = next((m for m in marks if said.endswith(m)), "")
        return [type("W", (), {"text": said.removesuffix(mark).strip(), "mark": mark})() for _ in texts]


def test_each_step_is_told_the_fact_most_like_it() -> None:
    lines = ("Step: Where does Ann live?", "Rome", "the note says otherwise.", "Oslo", "Answer: Norway")
    memory, none = Told(FACTS, Retriever("lexical"), lines=lines), Any
    assert memory.reasoned(none, ["In which country is Ann?"], 1) == ["Norway"]
    assert memory.asked[-1].endswith(
        "Question: In which country is Ann?\nStep: Where does Ann live?\nGuess: Rome\nNote: Ann lives in Oslo\n"
        "Check: the note says otherwise.\nSo far: Oslo\n"
    )
    # Who writes neither a step nor an answer has none, and so has who never comes to an end.
    assert Told(FACTS, Retriever("lexical"), lines=("hm",)).reasoned(none, ["?"], 1) == [""]
    endless = Told(FACTS, Retriever("lexical"), form=Form(steps=2), lines=("Step: Ann?", "a", "b", "c"))
    assert endless.reasoned(none, ["?"], 1) == [""]
    assert len(endless.asked) == 2 * 4 + 1


def test_a_sentence_is_written_anew_behind_the_fact_most_like_it() -> None:
    form = Form("sentences", "q : {question} ? a :")
    lines = ("Ann lives in Rome ;", "Ann lives in Oslo ;", "Oslo is in Italy .", "Oslo is in Norway .")
    memory = Told(FACTS, Retriever("lexical", min_score=0.3), form=form, lines=lines)
    assert memory.reasoned(Any, ["where"], 1) == ["Ann lives in Oslo ; Oslo is in Norway"]
    assert memory.asked == [
        "q : where ? a :",
        "Ann lives in Osloq : where ? a :",
        "q : where ? a : Ann lives in Oslo ;",
        "Ann lives in Osloq : where ? a : Ann lives in Oslo ;",
    ]


def test_a_memory_that_takes_questions_apart_is_stored_whole_and_asked_only_by_who_knows(
    lm: LanguageModel, tmp_path: Path
) -> None:
    patch = Patch(prompts=Decomposing(FACTS, Retriever("lexical"), "{question}", Form("sentences", "q {question}")))
    patch.save(tmp_path / "p.safetensors")
    assert Patch.load(tmp_path / "p.safetensors") == patch
    assert patch.prompt("Ann lives in") == "Ann lives in OsloAnn lives in"
    assert Mello.consumes <= MultiHop.offers
    assert not Mello.consumes <= Edit.offers
    # The worked examples of the paper's form leave no room in a small context: counted, not answered.
    spec = job(lm, tmp_path, Mello.model_validate_json('{"type": "mello", "form": {"type": "lines", "tokens": 9999}}'))
    (found,) = parts(spec)
    assert found.skipped["multi-hop: a question is longer than the model's context"] == 4
