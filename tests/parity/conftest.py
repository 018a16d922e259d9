"""What the parity tests of editors share: the peer's model, requests and tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchwright.adapters.lm.loading import open_folder
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.requests import EditRequest
from benchwright.artifacts import ArtifactStore
from benchwright.components import Opening
from benchwright.job import Job


@pytest.fixture(scope="module")
def editing(shared: Path) -> Path:
    """The folder of the fixtures."""
    return shared / "fixtures" / "editing"


@pytest.fixture(scope="module")
def lm(editing: Path) -> LanguageModel:
    """The GPT-2 that the peer edited."""
    return open_folder(editing / "tiny-gpt2-xl", Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere"))))


@pytest.fixture(scope="module")
def records(editing: Path) -> list[dict[str, Any]]:
    """The ten requests, with their probes."""
    found: list[dict[str, Any]] = json.loads((editing / "requests.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def edit_requests(records: list[dict[str, Any]]) -> list[EditRequest]:
    """The ten requests."""
    return [EditRequest(str(r["case_id"]), r["prompt"], r["subject"], r["target_new"]) for r in records]


@pytest.fixture
def job(editing: Path, lm: LanguageModel, tmp_path: Path) -> Job:
    """A cell with the peer's covariance at hand, and artifacts of its own."""
    files = {"algorithm": {"solve.covariance.file": editing / "cov_gpt2.safetensors"}}
    none: Any = None
    return Job(none, none, 0, None, {"subject": lm}, {"subject": "tiny"}, files, ArtifactStore(tmp_path))
