"""What all tracks of editing share: cases of several requests, repeated facts, general ability of edited models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchwright.adapters.editing import session
from benchwright.adapters.editing.params import Edit
from benchwright.adapters.editing.run import run
from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.lm.interventions import Intervention
from benchwright.adapters.lm.interventions.fine_tune.params import FineTune
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.streams import without_conflicts
from benchwright.adapters.worlds.params import World
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.errors import DataError
from benchwright.job import Job, Part
from benchwright.kinds import MethodSpec, TaskSpec

TASKS = Path(__file__).parents[1] / "data" / "lm_eval_tasks"
FT = FineTune.model_validate_json('{"type": "fine_tune", "parameters": {"layers": [3]}, "lr": 2e-3, "steps": 8}')


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return World(type="world", name="atlas-small").open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("no"))))


@dataclass(frozen=True)
class Chain:
    """Facts that are changed together."""

    id: str
    requests: tuple[EditRequest, ...]


def request(name: str, fact: str, target: str) -> EditRequest:
    """In words that the model knows."""
    return EditRequest(name, f"the {fact}", fact, target, fact=fact)


A, B, C = (request(n, f, t) for n, f, t in (("a", "town", "blue"), ("b", "dish", "small"), ("c", "town", "green")))
AGAIN = request("d", "town", "blue")
MORE = request("e", "seat", "lost")


def test_cases_that_share_a_wish_agree_and_those_that_want_different_things_of_a_fact_do_not() -> None:
    cases = [Chain("0", (A, B)), Chain("1", (AGAIN, MORE)), Chain("2", (B,)), Chain("3", (C,))]
    kept, dropped = without_conflicts(cases, "drop")
    assert [c.id for c in kept] == ["0", "1"]
    assert [c.id for c in dropped] == ["2", "3"]
    assert [c.id for c in without_conflicts(cases, "last")[0]] == ["2", "3"]
    with pytest.raises(DataError, match=r"requests a and b change the same fact \('the dish'\)"):
        without_conflicts(cases, "error")


class Noting(Intervention):
    """Notes which requests it is given together, and changes nothing."""

    consumes = frozenset({"edit_requests"})
    type: Any = "noting"
    given: Any = None

    def check(self, lm: LanguageModel, request: EditRequest, job: Job) -> None:
        pass

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: Any, job: Job) -> tuple[Patch, Any]:
        self.given.append([r.id for r in requests])
        return Patch(), state


class Counting(session.Track[Chain]):
    """Scores how many cases an edited model has."""

    def score(self, part: Part, models: Sequence[tuple[Sequence[Chain], Patch]], suffix: str = "", **at: Any) -> None:
        for cases, _ in models:
            for case in cases:
                part.record(case.id + suffix, "count", len(cases), **at)


class Chains(WorldEdits):
    type: Any = "chains"
    cases: Any = None

    def load(self, files: Any, limit: int | None) -> Any:
        return list(self.cases)


def parts(
    lm: LanguageModel, tmp_path: Path, cases: Sequence[Chain], **fields: Any
) -> tuple[list[Part], list[list[str]]]:
    protocol = Edit.model_validate_json(json.dumps({"type": "edit", **fields}))
    task = TaskSpec.model_construct(
        name="t", data=Chains(type="chains", world="atlas-small", cases=cases), protocol=protocol
    )
    method = MethodSpec.model_construct(name="m", algorithm=Noting(type="noting", given=(given := [])))
    job = Job(task, method, 0, None, {"subject": lm}, {"subject": "s"}, {}, ArtifactStore(tmp_path))
    return list(session.run(Counting(protocol, job))), given


def test_requests_of_a_case_go_together_and_a_fact_of_two_cases_is_changed_once(
    lm: LanguageModel, tmp_path: Path
) -> None:
    cases = [Chain("0", (A, B)), Chain("1", (AGAIN, MORE))]
    assert parts(lm, tmp_path, cases)[1] == [["a", "b"], ["d", "e"]]
    found, given = parts(lm, tmp_path, cases, mode="sequential", checkpoints=[1, 2])
    # The order is drawn; whichever comes second leaves out what was asked for before.
    assert sorted(map(len, given)) == [1, 2]
    assert [p.cost["edits"] for p in found[1:]] == [2, 1]
    assert [[r["value"] for r in p.records] for p in found[1:]] == [[1.0], [2.0, 2.0]]
    (together,) = parts(lm, tmp_path, cases, mode="batch", checkpoints=[2])[1]
    assert len(together) == 3


def test_general_ability_is_measured_once_for_each_length(lm: LanguageModel, tmp_path: Path) -> None:
    cases = [Chain(str(i), (request(str(i), f"{word} {i}", "blue"),)) for i, word in enumerate(["town"] * 9)]
    measured: list[tuple[str, Any]] = []

    class Watched(Counting):
        def __init__(self, protocol: Any, job: Job) -> None:
            super().__init__(protocol, job)
            self.ability.record = lambda part, owner, patch, **at: measured.append((owner, at["T"]))  # type: ignore

    general = {"tasks": ["atlas_facts"], "folder": str(TASKS)}
    fields = {"mode": "batch", "checkpoints": [2, 8], "streams": 3, "general": general}
    protocol = Edit.model_validate_json(json.dumps({"type": "edit", **fields}))
    data = Chains(type="chains", world="atlas-small", cases=cases)
    task = TaskSpec.model_construct(name="t", data=data, protocol=protocol)
    method = MethodSpec.model_construct(name="m", algorithm=Noting(type="noting", given=[]))
    job = Job(task, method, 0, None, {"subject": lm}, {"subject": "s"}, {}, ArtifactStore(tmp_path))
    assert len(list(session.run(Watched(protocol, job)))) == 5
    assert [t for _, t in measured] == [8, 2]


def test_general_ability_is_that_of_the_edited_model(lm: LanguageModel, tmp_path: Path) -> None:
    general = {"tasks": ["atlas_facts"], "folder": str(TASKS), "limit": 4}
    fields = {"type": "edit", "mode": "sequential", "checkpoints": [1, 4], "streams": 2, "general": general}
    protocol = Edit.model_validate_json(json.dumps(fields))
    data = WorldEdits(type="world_edits", world="atlas-small", requests=8)
    method = MethodSpec.model_construct(name="m", algorithm=FT.model_copy(update={"lr": 0.1}))
    task = TaskSpec.model_construct(name="t", data=data, protocol=protocol)
    files = {"protocol": {"general.folder": TASKS}}
    job = Job(task, method, 0, None, {"subject": lm}, {"subject": "s"}, files, ArtifactStore(tmp_path))
    rows = [r for part in run(protocol, job) for r in part.records if r["metric"].startswith("general.")]
    # Of the first stream, after its last edit.
    assert {r["at"]["T"] for r in rows} == {4}
    assert all(r["item"].startswith("stream-000/general/") for r in rows)
    before, after = ([r["value"] for r in rows if r["metric"] == f"general.{when}"] for when in ("before", "after"))
    assert len(before) == len(after) == 4 * len({r["item"].split("/")[2] for r in rows})
    assert before != after
    assert lm.verify() == []
