"""What went wrong in the leading peer and is not tested beside the part that would have it; docs/editing.md has the
list, with the test of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchwright.adapters.editing.params import Edit
from benchwright.adapters.editing.run import run
from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.lm.interventions import Intervention
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import encode
from benchwright.adapters.worlds.params import World
from benchwright.api import library
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.job import Job
from benchwright.kinds import MethodSpec, TaskSpec
from benchwright.loading.resolve import resolve

DOCS = Path(__file__).parents[2] / "docs" / "editing.md"


def opened(name: str) -> LanguageModel:
    return World(type="world", name=name).open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("no"))))


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return opened("atlas-small")


class WreckFirst(Intervention):
    """The first batch of a sequence spoils the model, later ones leave it as it is."""

    consumes = frozenset({"edit_requests"})
    type: Any = "wreck_first"

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: Any, job: Job) -> tuple[Patch, Any]:
        if state is not None:
            return Patch(), state
        name, head = next((n, p) for n, p in lm.model.named_parameters() if n.endswith("embed_tokens.weight"))
        return Patch({name: torch.roll(head.detach(), 1, 0) - head.detach()}), {"begun": torch.ones(1)}


def job_of(lm: LanguageModel, method: Intervention, folder: Path, model: str, **fields: Any) -> Job:
    data = WorldEdits(type="world_edits", world=model, requests=4)
    task = TaskSpec.model_construct(name="t", data=data, protocol=Edit(type="edit", **fields))
    spec = MethodSpec.model_construct(name="m", algorithm=method)
    return Job(task, spec, 0, None, {"subject": lm}, {"subject": model}, {}, ArtifactStore(folder))


def test_before_is_the_untouched_model_also_for_later_batches(lm: LanguageModel, tmp_path: Path) -> None:
    """Measured on the model that the first batch had spoilt, the second batch's locality would be perfect."""
    fields: dict[str, Any] = {"mode": "sequential", "batch_size": 2, "checkpoints": (2, 4)}
    job = job_of(lm, WreckFirst(type="wreck_first"), tmp_path, "atlas-small", **fields)
    parts = list(run(job.task.protocol, job))  # type: ignore[arg-type]
    kept = {(r["item"], r["at"]["T"]): r["value"] for p in parts for r in p.records if r["metric"] == "locality.exact"}
    late = {item for item, t in kept if t == 4} - {item for item, t in kept if t == 2}
    assert len(late) == 2
    assert max(kept[item, 4] for item in late) < 0.5


def test_a_second_model_in_a_process_is_not_edited_with_what_was_made_for_the_first(tmp_path: Path) -> None:
    """Contexts and covariances belong to a model's weights, whatever it is called."""
    known = library([])

    def edited(models: Sequence[str], folder: Path) -> dict[str, str]:
        found = {}
        for model in models:
            lm = opened(model)
            # One configuration for both, and so one object that edits them.
            method: Any = resolve(known, known.get("method", "memit"), ("atlas-small",)).spec.algorithm
            job = job_of(lm, method, folder, model)
            method.prepare(lm, job)
            found[model] = method.apply(lm, [job.items()[0].request], None, job)[0].digest()
        return found

    there, back = (edited(m, tmp_path / m[0]) for m in (("atlas-small", "atlas"), ("atlas", "atlas-small")))
    assert there == back
    assert there["atlas"] != there["atlas-small"]


def test_a_target_has_the_same_tokens_with_and_without_a_space_before_it(lm: LanguageModel) -> None:
    request = WorldEdits(type="world_edits", world="atlas-small").load({}, 1)[0].request
    assert encode(lm, request.prompt, request.target_new) == encode(lm, request.prompt, f" {request.target_new}")


def test_every_method_task_and_file_that_the_page_names_exists() -> None:
    text, known = DOCS.read_text("utf-8"), library([])
    methods = re.findall(r"^\| ((?:`[a-z0-9-]+`(?:, )?)+) \| `", text, flags=re.M)
    named = [name for row in methods for name in re.findall(r"`([^`]+)`", row)]
    assert len(named) > 15
    for name in named:
        known.get("method", name)
    for test in re.findall(r"`(tests/[^`:]+)", text):
        assert (DOCS.parents[1] / test).is_file(), test
