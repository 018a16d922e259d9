"""Editing in the wild: answers that are written to their end, and who says whether they are right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from benchwright.adapters.chat.asking import Asking
from benchwright.adapters.chat.scripted import Entry, Scripted
from benchwright.adapters.editing.answering import answered
from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.editing.wild import run as track
from benchwright.adapters.editing.wild.judging import Asked, Said, Same
from benchwright.adapters.editing.wild.params import Exact, JudgedWild, QAEdit, Wild
from benchwright.adapters.lm.interventions.fine_tune.params import Lora
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.worlds.params import World
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import DataError
from benchwright.job import Job, Part
from benchwright.kinds import MethodSpec, TaskSpec


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return World(type="world", name="atlas-small").open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("no"))))


LORA = Lora.model_validate_json('{"type": "lora", "modules": ["mlp_down"], "rank": 2, "lr": 1e-2, "steps": 5}')
NOTHING = LORA.model_copy(update={"lr": 0.0, "steps": 1})


def job(lm: LanguageModel, folder: Path, algorithm: Any, kind: Any = Wild, **fields: Any) -> Job:
    name = "wild" if kind is Wild else "wild_judged"
    said = {"type": name, "tokens": 12, "until": ["."], **fields}
    task = TaskSpec.model_construct(
        name="t",
        data=WorldEdits(type="world_edits", world="atlas-small", requests=4),
        protocol=kind.model_validate_json(json.dumps(said)),
    )
    method = MethodSpec.model_construct(name="m", algorithm=algorithm)
    models = {"subject": lm, "judge": Scripted(Path("s"), [Entry(match="", text='{"right": true}')], "j")}
    prints = {"subject": "s", "judge": "j"}
    return Job(task, method, 0, None, models, prints, {}, ArtifactStore(folder / "artifacts"))


def parts(job: Job) -> list[Part]:
    return list(job.task.protocol.run(job))


def values(found: Sequence[Part]) -> dict[tuple[str, str], float]:
    return {(r["item"], r["metric"]): r["value"] for part in found for r in part.records}


def test_no_batch_and_no_stacking_changes_a_record_and_the_model_is_as_it_was(
    lm: LanguageModel, tmp_path: Path
) -> None:
    together, alone = (
        values(parts(job(lm, tmp_path / str(size), LORA, chunk=size, forward_batch=batch)))
        for size, batch in ((4, 256), (1, 5))
    )
    assert together == alone
    assert sum(value for (_, metric), value in alone.items() if metric == "reliability.wild") >= 3
    assert lm.verify() == []


def test_an_untouched_model_answers_as_before_and_nothing_else(lm: LanguageModel, tmp_path: Path) -> None:
    found = values(parts(job(lm, tmp_path, NOTHING)))
    assert {v for (_, metric), v in found.items() if metric == "locality.wild"} == {1.0}
    assert {v for (_, metric), v in found.items() if metric in ("reliability.wild", "portability.two_hop.wild")} == {
        0.0
    }
    # What was reasoned aloud ends with the answer: its length is no answer's.
    assert all(v < 4 for (_, metric), v in found.items() if metric == "answer_words")


def test_an_answer_ends_at_a_mark_or_at_its_longest_and_needs_room(lm: LanguageModel) -> None:
    case = WorldEdits(type="world_edits", world="atlas-small").load({}, 1)[0].request
    bare = ("{question}", case.prompt)
    ((cut,),) = answered(lm, [(Patch(), [bare])], 8, 1, (".",))
    ((long,),) = answered(lm, [(Patch(), [bare])], 8, 1)
    assert cut == case.target_true
    assert long == f"{cut} ."
    assert answered(lm, [(Patch(), [bare])], lm.context, 1) == [[None]]


def test_a_memory_is_searched_with_the_question_and_left_out_where_it_leaves_no_room(lm: LanguageModel) -> None:
    """What a form puts around a question is no part of it."""
    case = WorldEdits(type="world_edits", world="atlas-small").load({}, 1)[0].request

    @dataclass(frozen=True)
    class Noted:
        before: str

        def prompt(self, text: str) -> str:
            assert text == case.prompt
            return self.before + text

    form = f"note : {case.prompt} {case.target_new} . {{question}}"
    note = f"note : {case.prompt} {case.target_new} . "
    told, noisy = (Patch(prompts=cast(Any, Noted(before))) for before in (note, "the " * lm.context))
    ((plain,),) = answered(lm, [(Patch(), [("{question}", case.prompt)])], 2, 1, (".",))
    ((said,),) = answered(lm, [(told, [("{question}", case.prompt)])], 2, 1, (".",))
    ((framed,),) = answered(lm, [(Patch(), [(form, case.prompt)])], 2, 1, (".",))
    assert said == framed == case.target_new != plain
    assert answered(lm, [(noisy, [("{question}", case.prompt)])], 2, 1, (".",)) == [[plain]]


def test_what_leaves_no_room_is_counted_and_has_no_value(lm: LanguageModel, tmp_path: Path) -> None:
    (part,) = parts(job(lm, tmp_path, NOTHING, tokens=lm.context))
    assert part.records == []
    assert part.skipped["reliability: longer than the model's context"] == 4


def test_prompts_are_turns_of_a_chat_where_the_tokenizer_has_a_template(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def asked(lm: LanguageModel, models: Any, *_: Any) -> Any:
        seen.append(lm.chat)
        return [["x"] * len(prompts) for _, prompts in models]

    monkeypatch.setattr(track, "answered", asked)
    parts(job(lm, tmp_path, NOTHING))
    monkeypatch.setattr(lm.tokenizer, "chat_template", "{{ messages }}", raising=False)
    parts(job(lm, tmp_path, NOTHING, chat="none"))
    assert not any(seen)
    seen.clear()
    parts(job(lm, tmp_path / "chat", NOTHING))
    assert all(seen)
    assert not lm.chat


def test_words_are_compared_as_a_whole_or_inside() -> None:
    said = [Said("q", ("Paris", "Lutetia"), text) for text in ("paris!", "It is Paris", "", "Rome")]
    assert Same(Exact()).right(said) == [1.0, 0.0, 0.0, 0.0]
    assert Same(Exact(match="contains")).right(said) == [1.0, 1.0, 0.0, 0.0]
    # Of what was said before an edit nothing may be the answer, too; reasoning aloud comes to an end.
    assert Same(Exact()).right([Said("q", ("",), ""), Said("q", ("Paris",), "so it is Paris", True)]) == [1.0, 1.0]


def test_a_judge_is_asked_about_what_was_said_and_may_have_no_verdict() -> None:
    entries = [
        Entry(match="Answer: Rome", text='Well: {"right": false}'),
        Entry(match="cannot be used", text="I do not know"),
        Entry(match="Answer: Mars", text="maybe"),
        Entry(pattern=r"Counts as right: Paris / Lutetia\nAnswer: in Paris", text='{"right": true}'),
    ]
    judge = Asked(Asking(Scripted(Path("s"), entries, "j")))
    said = [Said("q {x}", ("Paris", "Lutetia"), text) for text in ("in Paris", "Rome", "Mars", "")]
    assert judge.right(said) == [1.0, 0.0, None, 0.0]
    assert judge.right([Said("q", ("",), "")]) == [1.0]
    told = judge.facts()["judge"]
    assert (told["requests"], told["reasked"], told["unparsed"]) == (4, 1, 1)


def test_a_model_judges_in_place_of_words(lm: LanguageModel, tmp_path: Path) -> None:
    (part,) = parts(job(lm, tmp_path, NOTHING, JudgedWild))
    found = values([part])
    assert {v for (_, metric), v in found.items() if metric == "reliability.wild"} == {1.0}
    assert part.facts["judge"]["requests"] > 4
    assert JudgedWild.roles == {"subject": "language_model", "judge": "chat_model"}


def test_qaedit_is_read_and_says_what_is_wrong(tmp_path: Path) -> None:
    record: dict[str, Any] = {
        "id": 5,
        "prompt": "who wrote it?",
        "target": "Ada",
        "subject": "it",
        "rephrase": "by whom",
    }
    record["locality"] = [{"loc": "when", "loc_ans": "1994"}, {"loc": "where", "loc_ans": "Rome"}]
    file, source = tmp_path / "q.json", QAEdit(type="qaedit", file="f")
    file.write_text(json.dumps([record, record]), encoding="utf-8")
    one, other = source.load({"file": file}, None)
    assert (one.request.id, other.request.id, one.request.target_new) == ("000000", "000001", "Ada")
    assert [(p.prompt, p.answers) for p in one.locality["other"]] == [("when", ("1994",)), ("where", ("Rome",))]
    assert one.rephrases == ("by whom",)
    file.write_text(json.dumps([{**record, "locality": [3]}]), encoding="utf-8")
    with pytest.raises(DataError, match=r"locality\.0: expected a map with `loc` and `loc_ans`"):
        source.load({"file": file}, None)


@pytest.mark.parametrize(("field", "value"), [("prompt", "no place"), ("until", [""]), ("tokens", 0)])
def test_a_protocol_that_makes_no_sense_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Wild.model_validate_json(json.dumps({"type": "wild", field: value}))
