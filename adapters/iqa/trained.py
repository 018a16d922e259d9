"""Training outside of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...alone import job_of_task
from ...errors import UsageError
from ...loading.resolve import resolved_json
from .checkpoint import Checkpoint
from .items import Grading
from .learning import Learner, learn
from .params import Grade
from .seeing import Place


def trained(
    method: str,
    task: str,
    data: str | None,
    device: str,
    seed: int,
    threads: int,
    specs: Sequence[Path],
    progress: Callable[[int, int], None],
) -> Checkpoint:
    """What a method learns from a task's training images. Raises SpecError, UsageError, DataError, ModelError."""
    job, of_task, of_method = job_of_task(
        task, method, specs=specs, data=data, device=device, seed=seed, threads=threads
    )
    learner, protocol = of_method.spec.algorithm, of_task.spec.protocol
    if not isinstance(learner, Learner):
        raise UsageError(f"method {of_method.name!r} learns nothing from images; its type is {learner.type!r}")
    classes = protocol.classes if isinstance(protocol, Grade) else ()
    grading: Grading = job.items()
    place = Place(device, threads, seed, job.files.get("algorithm", {}), progress)
    learned, cost, problems = learn(learner, grading, len(classes), place, job.artifacts)
    spec = resolved_json(of_method.spec)
    return Checkpoint(of_method.name, spec, classes, of_task.name, seed, learned, cost, tuple(problems), place.files)
