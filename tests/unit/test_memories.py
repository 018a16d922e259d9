"""What memories promise over a sequence: the first edits are asked again at its end, each prompt for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import pytest

from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.lm.blocks import ClusterIndex
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.interventions import Intervention
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.lm.scoring import Row, encode, forced
from benchwright.adapters.worlds.params import World
from benchwright.api import library
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.job import Job
from benchwright.loading.resolve import resolve

T = 5
Edited: TypeAlias = tuple[Patch, list[Patch], list[EditRequest]]
CASES = WorldEdits(type="world_edits", world="atlas-small", split="tuning")


@pytest.fixture(scope="module")
def atlas() -> LanguageModel:
    return World(type="world", name="atlas-small").open(Opening("cpu", "float32", 1, "", ArtifactStore(Path("."))))


@pytest.fixture(scope="module", params=["grace", "melo"])
def sequence(request: pytest.FixtureRequest, atlas: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Edited:
    """A method's patch after its edits, those on the way with it, and the requests."""
    known, none = library([]), None
    method = resolve(known, known.get("method", request.param), ("atlas-small",)).spec.algorithm
    assert isinstance(method, Intervention)
    requests = [case.request for case in CASES.load({}, None)[:T]]
    store, files = ArtifactStore(tmp_path_factory.mktemp("artifacts")), dict[str, Any]()
    job = Job(none, none, 0, None, {}, {"subject": "a"}, files, store)  # type: ignore[arg-type]
    method.prepare(atlas, job)
    patches = [patch for _, patch, _ in carried_out(atlas, method, requests, 1, job)]
    return patches[-1], patches, requests


def asked(atlas: LanguageModel, requests: list[EditRequest]) -> list[Row]:
    return [encode(atlas, r.prompt, r.target_new) for r in requests]


def test_every_edit_holds_after_the_last_one(sequence: Edited, atlas: LanguageModel) -> None:
    last, patches, requests = sequence
    rows = asked(atlas, requests)
    with last.applied(atlas):
        assert [f.tokens for f in forced(atlas, rows, T)] == [row.target for row in rows]
    # And the first one at every step of the way.
    for patch in patches:
        with patch.applied(atlas):
            assert forced(atlas, rows[:1], 1)[0].tokens == rows[0].target
    assert atlas.verify() == []


def test_a_decision_is_each_prompt_s_own(sequence: Edited, atlas: LanguageModel) -> None:
    """Batches of edited prompts and of prompts of subjects that were never edited, in any order, and one by one."""
    last, _, requests = sequence
    others = [case.request for case in CASES.load({}, None)[T : 2 * T]]
    mixed = [r for pair in zip(requests, others, strict=True) for r in pair]
    rows = asked(atlas, mixed)
    with last.applied(atlas):
        together = [f.tokens for f in forced(atlas, rows, 2 * T)]
        assert [forced(atlas, [row], 1)[0].tokens for row in rows] == together
    before = [f.tokens for f in forced(atlas, asked(atlas, others), T)]
    # Those never edited answer as they did, nearly all of them: a radius may take a neighbour in.
    assert [a == b for a, b in zip(together[1::2], before, strict=True)].count(True) >= 0.8 * T


def test_an_edit_can_be_found_again_by_what_it_stands_for(sequence: Edited, atlas: LanguageModel) -> None:
    """Labels, keys and values are of one edit each, in the order of the requests; earlier entries never change."""
    last, patches, requests = sequence
    targets = [encode(atlas, r.prompt, r.target_new).target for r in requests]
    first, whole = (next(iter(p.inserts.values())) for p in (patches[2], last))
    labels = [tuple(t for t in label if t >= 0) for label in whole.tensors()["labels"].tolist()]
    if isinstance(whole, ClusterIndex):
        found = [labels[owner] for _, owner in sorted(zip(whole.blocks.tolist(), whole.owners.tolist(), strict=True))]
        assert found == targets
    else:
        assert labels == targets
        assert all((first.tensors()[n] == whole.tensors()[n][:3]).all() for n in ("keys", "values"))
