"""The track of concepts: what a record becomes, and whether its instance still belongs after the edit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lm_fixtures
import pytest

from benchwright.adapters.editing.concepts.params import ConceptEdit, Concepts
from benchwright.adapters.editing.concepts.run import run
from benchwright.adapters.lm.interventions.fine_tune.params import FineTune
from benchwright.adapters.lm.scoring import encode, forced
from benchwright.artifacts import ArtifactStore
from benchwright.errors import DataError
from benchwright.job import Job
from benchwright.kinds import MethodSpec, TaskSpec

RECORDS = [
    {
        "label": name,
        "prompt": f"The definition of {name} is",
        "phrase_prompt": f"What is {name}?",
        "target_new_desc": "a place",
        "instance_prompt": f"Whether X belongs to category {name}?",
        "locality_prompt": "The definition of ship is",
        "locality_answer": "a boat",
        "unused": 1,
    }
    for name in ("king", "fish", "song")
]


def file(tmp_path: Path, records: Any = RECORDS) -> Path:
    found = tmp_path / "final_gpt2_intra.json"
    found.write_text(json.dumps(records), encoding="utf-8")
    return found


def test_a_record_becomes_a_case(tmp_path: Path) -> None:
    source = ConceptEdit(type="concept_edit", file="f")
    case = source.load({"file": file(tmp_path)}, None)[0]
    assert (case.request.subject, case.request.target_new, case.rephrases) == ("king", "a place", ("What is king?",))
    assert case.locality["neighbourhood"][0].answers == ("a boat",)
    assert getattr(case, "instance", None) == "Whether X belongs to category king?"
    broken = [{k: v for k, v in RECORDS[0].items() if k != "instance_prompt"}]
    with pytest.raises(DataError, match=r"record 0 \(of 1, from 0\): instance_prompt: expected a text, it is missing"):
        source.load({"file": file(tmp_path, broken)}, None)


@pytest.mark.parametrize("steps", [0, 15])
def test_an_instance_belongs_where_yes_is_likelier_than_no(tmp_path: Path, steps: int) -> None:
    lm = lm_fixtures.tiny("llama")
    text = '{"type": "fine_tune", "parameters": {"layers": [1]}, "lr": 3e-2}'
    algorithm = FineTune.model_validate_json(text).model_copy(update={"steps": steps})
    protocol = Concepts(type="edit_concepts", mode="single", demonstration="In? Yes\n")
    data = ConceptEdit(type="concept_edit", file="f")
    task = TaskSpec.model_construct(name="t", data=data, protocol=protocol)
    method = MethodSpec.model_construct(name="m", algorithm=algorithm)
    store, files = ArtifactStore(tmp_path / "artifacts"), {"data": {"file": file(tmp_path)}}
    job = Job(task, method, 0, None, {"subject": lm}, {"subject": "s"}, files, store)
    parts = list(run(protocol, job))
    found = {r["item"]: r["value"] for p in parts for r in p.records if r["metric"] == "instance_change"}
    expected = {}
    for case in data.load(files["data"], None):
        rows = [encode(lm, f"In? Yes\n{case.instance}", answer) for answer in ("Yes", "No")]
        yes, no = forced(lm, rows, 2)
        patch, _ = algorithm.apply(lm, case.requests, None, job)
        with patch.applied(lm):
            yes_now, no_now = forced(lm, rows, 2)
        expected[case.id] = float(yes.nll < no.nll) - float(yes_now.nll < no_now.nll)
    assert found == expected
    if steps == 0:
        assert set(found.values()) == {0.0}
    metrics = {r["metric"] for p in parts for r in p.records}
    assert {"reliability.token", "generalization.token", "locality.token"} <= metrics
    assert lm.verify() == []
