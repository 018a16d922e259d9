"""What the stages of a pipeline are given: models, journal, files and randomness of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...artifacts import ArtifactStore
from ...canonical import digest
from ...components import OWN, Resource
from ...job import Job
from ..chat.asking import Account, Asking
from ..chat.journal import Journal
from ..chat.models import chat_model
from .methods.pipeline import Pipeline
from .stage import Workbench

Value = TypeVar("Value")


def benches(
    pipeline: Pipeline,
    models: Mapping[str, Resource],
    states: Mapping[str, str],
    files: Mapping[str, Path],
    *,
    seed: int,
    journal: Callable[[str], Path],
    progress: Callable[[int], None] = lambda rows: None,
) -> dict[str, Workbench]:
    """A bench for each stage, by its name.

    `states`: what determines the answers of each model, by role; `journal`: where the replies of the model of a role
    are kept; `files`: `{"stages.0.evaluations.0.file": path}`.
    """
    asked = {role for stage in pipeline.stages for role, kind in stage.roles().items() if kind == "chat_model"}
    asking = {
        role: Asking(
            chat_model(models[role], states[role]), Journal(journal(role)), progress=lambda account: progress(0)
        )
        for role in sorted(asked)
    }
    return {
        name: Workbench(
            seed=seed,
            name=name,
            models=models,
            asking=asking,
            files=_below(files, f"stages.{place}."),
            progress=progress,
        )
        for place, name in enumerate(pipeline.names)
    }


def accounts(by_stage: Mapping[str, Workbench]) -> dict[str, Account]:
    """What was asked of each model and what it cost, by role: all benches of a pipeline share them."""
    return {role: asking.account for bench in by_stage.values() for role, asking in bench.asking.items()}


def _below(files: Mapping[str, Path], prefix: str) -> dict[str, Path]:
    return {name.removeprefix(prefix): file for name, file in files.items() if name.startswith(prefix)}


def pipeline_of(job: Job) -> Pipeline:
    """The pipeline of a cell."""
    algorithm: Any = job.method.algorithm
    assert isinstance(algorithm, Pipeline)
    return algorithm


def own(job: Job, of: Mapping[str, Value]) -> dict[str, Value]:
    """What `job.models` or `job.fingerprints` has of the method's own models, by role."""
    return {role: of[f"{OWN}{role}"] for role in pipeline_of(job).own_models()}


def benches_of(job: Job) -> dict[str, Workbench]:
    """The benches of a cell; replies are kept with the artifacts, so that no cell pays twice for one."""
    pipeline = pipeline_of(job)
    kept = reply_folder(job.artifacts)
    states = own(job, job.fingerprints)
    return benches(
        pipeline,
        own(job, job.models),
        states,
        job.files.get("algorithm", {}),
        seed=job.seed,
        journal=lambda role: kept / f"{digest(states[role])}.jsonl",
    )


def reply_folder(artifacts: ArtifactStore) -> Path:
    """Where the replies that suites have paid for are kept: beside the artifacts, and never pruned with them."""
    return artifacts.root.parent / "replies"
