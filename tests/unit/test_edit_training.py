"""Training splits of editing tasks: nothing of what is scored is in them, and they are offered where there are some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from benchwright.adapters.editing.params import Edit
from benchwright.adapters.editing.sources.params import CounterFact, EditRequests, WorldEdits, ZsRE
from benchwright.adapters.editing.sources.splits import normalised
from benchwright.adapters.editing.sources.world import subjects, world_cases, world_training
from benchwright.adapters.editing.sources.world_probes import fact_id
from benchwright.adapters.lm.interventions import Intervention
from benchwright.adapters.lm.interventions.hypernetwork.params import Mend, Training
from benchwright.adapters.worlds.knowledge.making import make_world
from benchwright.components import Data
from benchwright.errors import DataError
from benchwright.kinds import MethodSpec, TaskSpec
from benchwright.plan import mismatch

WORLD = make_world(3)


@pytest.mark.parametrize("scored", ["test", "tuning"])
def test_no_fact_of_a_scored_subject_is_learned_from(scored: Any) -> None:
    training, cases = world_training(WORLD, scored), world_cases(WORLD, scored)
    asked_about = {c.request.subject for c in cases}
    assert not asked_about & {r.subject for r in training}
    facts = {
        fact_id(relation, s): WORLD.prompt(relation, s, i)
        for relation in WORLD.facts
        for s in asked_about
        for i in range(len(WORLD.language.relations[relation].templates))
        if s in WORLD.facts[relation]
    }
    assert not set(facts.values()) & {prompt for r in training for prompt, _ in r.keep}
    assert all(r.keep for r in training)
    # Each request is there with its own prompt and with its rephrasings, one after the other.
    first = next(c for c in world_cases(WORLD, "validation" if scored == "test" else "learning"))
    prompts = [r.prompt for r in training if r.id == first.request.id]
    assert prompts == [first.request.prompt, *first.rephrases]
    assert len(prompts) > 1


def test_tuning_is_a_half_of_validation_and_learns_from_the_other() -> None:
    for kind in ("person", "company"):
        halves = [subjects(WORLD, kind, split) for split in ("learning", "tuning")]
        assert [*halves[0], *halves[1]] == subjects(WORLD, kind, "validation")
    assert world_training(WORLD, "validation") == []


def task(data: Data) -> TaskSpec:
    return TaskSpec(kind="task", name="edits", data=data, protocol=Edit(type="edit"))


class MadeOnce(Intervention):
    consumes: ClassVar[frozenset[str]] = frozenset({"training_pairs"})
    type: Literal["made_once"]


def method(algorithm: Intervention) -> MethodSpec:
    return MethodSpec(kind="method", name="learner", algorithm=algorithm)


def test_learners_are_planned_where_there_is_a_training_split() -> None:
    learner = method(Mend(type="mend", training=Training(steps=1)))
    alone = EditRequests(type="edit_requests", file="a.json")
    assert mismatch(task(WorldEdits(type="world_edits")), learner) == ""
    assert mismatch(task(alone.model_copy(update={"training_file": "b.json"})), learner) == ""
    for data in (WorldEdits(type="world_edits", split="validation"), alone):
        assert "it consumes training_requests" in mismatch(task(data), learner)
    # What is made once from a whole training split is no editor.
    once = method(MadeOnce(type="made_once"))
    assert "it consumes training_pairs" in mismatch(task(WorldEdits(type="world_edits")), once)


def written(file: Path, records: list[dict[str, Any]]) -> Path:
    file.write_text(json.dumps(records), encoding="utf-8")
    return file


def of_requests(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"{subject} plays the",
            "subject": subject,
            "target_new": "horn",
            "rephrase": f"The instrument of {subject} is the",
            "locality_prompt": other,
            "locality_answer": "red",
        }
        for subject, other in pairs
    ]


def test_records_of_scored_subjects_are_left_out_and_counted(tmp_path: Path) -> None:
    scored = written(tmp_path / "test.json", of_requests(("Mira", "Roses are"), ("Bo", "Salt is")))
    learned = of_requests(("Arlo", "roses  are"), ("MIRA", "Snow is"), ("Ada", "Coal is"))
    files = {"file": scored, "training_file": written(tmp_path / "train.json", learned)}
    source = EditRequests(type="edit_requests", file="test.json", training_file="train.json")
    found = source.training_split(files)
    assert found.left_out == 1
    assert [(r.subject, r.prompt) for r in found.requests] == [
        (subject, prompt.format(subject))
        for subject in ("Arlo", "Ada")
        for prompt in ("{} plays the", "The instrument of {} is the")
    ]
    # "Roses are" is asked in the scored split, so it is no text to keep.
    assert [r.keep for r in found.requests] == [(), (), (("Coal is", "red"),), (("Coal is", "red"),)]
    assert list(source.training(files)) == list(found.requests)
    assert list(EditRequests(type="edit_requests", file="test.json").training({"file": scored})) == []


def test_a_file_of_scored_subjects_alone_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "test.json", of_requests(("Mira", "Roses are")))
    source = EditRequests(type="edit_requests", file="test.json", training_file="test.json")
    with pytest.raises(DataError, match=r"test\.json: no record to learn from; 1 have a subject that is scored too"):
        source.training({"file": file, "training_file": file})


def test_published_training_files_are_read(shared: Path) -> None:
    data = shared / "data"
    files = {
        "file": data / "easyedit_factual" / "counterfact-edit.json",
        "training_file": data / "easyedit_factual" / "counterfact-val.json",
    }
    source = CounterFact(type="counterfact", file="a", training_file="b")
    found = source.training_split(files)
    scored = {normalised(c.request.subject) for c in source.load(files, None)}
    assert not scored & {normalised(r.subject) for r in found.requests}
    assert found.left_out >= 128
    train = data / "zsre_train_1k" / "zsre_mend_train-1k.json"
    zsre = ZsRE(type="zsre", file="a", split="test", training_file="b")
    split = zsre.training_split({"file": train, "training_file": train})
    assert len({r.id for r in split.requests}) + split.left_out == len(list(zsre.cases(train)))
    assert split.left_out == len(zsre.load({"file": train}, None))
