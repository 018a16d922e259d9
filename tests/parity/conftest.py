"""What the parity tests of editors share: the peer's model, requests and tensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchwright.adapters.lm.interventions.locate_then_edit.params import LocateThenEdit
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


TEMPLATES = ("{}", "The city of Oslo. {}", "I think you said. {}", "Therefore Arlo Finch moved. {}")
Solve = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def as_the_peer(editing: Path) -> Callable[..., LocateThenEdit]:
    """The algorithm with the peer's hyper-parameters, from a spec: `as_the_peer(NAME OF THE RESULT, solve, at, …)`.

    `solve` gives that block from the peer's hyper-parameters; further arguments are fields of `value`, and `spread`.
    """

    def made(name: str, solve: Solve, at: str, spread: str = "even", **value: Any) -> LocateThenEdit:
        hyper = json.loads((editing / "gpt2" / f"{name}.json").read_text(encoding="utf-8"))["hparams"]
        value |= {
            "at": at,
            "steps": hyper["v_num_grad_steps"],
            "lr": hyper["v_lr"],
            "loss_layer": hyper["v_loss_layer"],
            "weight_decay": hyper["v_weight_decay"],
            "clamp_norm_factor": hyper["clamp_norm_factor"],
            "kl_factor": hyper["kl_factor"],
            "context_templates": TEMPLATES,
        }
        spec = {"type": "locate_then_edit", "site": {"layers": hyper["layers"]}, "spread": spread}
        return LocateThenEdit.model_validate_json(json.dumps({**spec, "value": value, "solve": solve(hyper)}))

    return made


@pytest.fixture
def job(editing: Path, lm: LanguageModel, tmp_path: Path) -> Job:
    """A cell with the peer's covariance at hand, and artifacts of its own."""
    files = {"algorithm": {"solve.covariance.file": editing / "cov_gpt2.safetensors"}}
    none: Any = None
    return Job(none, none, 0, None, {"subject": lm}, {"subject": "tiny"}, files, ArtifactStore(tmp_path))
