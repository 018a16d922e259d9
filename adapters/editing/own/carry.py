"""Requests of a user's own, carried out on a model outside of a run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ....alone import Wanted, job_for
from ....errors import DataError, UsageError
from ....job import Job
from ....kinds import TaskSpec
from ....loading.resolve import Resolved, resolved_json
from ...lm.interventions import Intervention
from ...lm.model import LanguageModel
from ...lm.patch import Patch
from ...lm.scoring import Unusable
from ...lm.streams import without_conflicts
from ..cases import EditCase
from ..params import Edit
from ..probes import references
from ..session import askable
from ..sources.params import EditRequests
from ..sources.requests import request_cases
from ..sources.training import training_split
from .edited import Edited
from .how import How
from .sequence import EditSequence

BATCH = 256
"""Prompts in one forward pass."""

Files = Mapping[str, Mapping[str, Path]]


def carry_out(wanted: Wanted, file: Path, how: How) -> Edited:
    """Carry out the requests of a file. Raises SpecError, UsageError, DataError, ModelError, Skip."""
    task, files = task_of(file)
    cases = list(request_cases(file))
    job, model, method = job_for(wanted, task, files)
    return carried_out_on(job, model.name, method, cases, how)


def task_of(file: Path) -> tuple[TaskSpec, Files]:
    """What the command does, as a task, with its files. `file`: of the requests, or the name that errors give them."""
    # Whether there is something to learn from is told when the method is known.
    data = EditRequests(type="edit_requests", file=str(file), training_file="train")
    protocol = Edit(type="edit", mode="single", contrast=True)
    return TaskSpec(kind="task", name="command-line", data=data, protocol=protocol), {"data": {"file": file}}


def carried_out_on(
    job: Job,
    model: str,
    method: Resolved,
    cases: Sequence[EditCase],
    how: How,
    given_back: Callable[[], object] = lambda: None,
) -> Edited:
    """Carry out the requests of cases on an opened model. Raises UsageError, DataError, ModelError, Skip."""
    lm, algorithm = job.models["subject"], job.method.algorithm
    assert isinstance(lm, LanguageModel)
    assert isinstance(algorithm, Intervention)
    job = _learning(job, cases, how)
    skipped: Counter[str] = Counter()
    if how.mode != "single":
        cases, dropped = without_conflicts(cases, how.conflicts)
        skipped.update({"contradicts another request": len(dropped)} if dropped else {})
    cases, reasons = askable(lm, cases)
    skipped.update(f"{case}: {reason}" for case, reason in reasons.items())
    known = references(lm, cases, BATCH, job)
    how.say(f"preparing {method.name} for {model} (what takes long is kept for the next time) …")
    algorithm.prepare(lm, job)
    how.say(f"editing {len(cases)} requests …")
    begun = time.process_time()
    made = _made(lm, algorithm, cases, how, job, skipped)
    cpu_s = time.process_time() - begun
    names = (model, method.name)
    spec = resolved_json(method.spec)
    return Edited(lm, job, names, spec, cases, known, skipped, made, how.mode, cpu_s, given_back)


def _learning(job: Job, cases: Sequence[EditCase], how: How) -> Job:
    """The job with what the method may learn from: no subject that is edited. Raises UsageError, DataError."""
    if how.train is not None:
        split = training_split(request_cases(how.train), cases)
        if not split.requests:
            raise DataError(f"{how.train}: no record to learn from; {split.left_out} have a subject that is edited too")
        job = replace(job, training=split.requests)
    elif "training_requests" in job.method.algorithm.consumes:
        raise UsageError(
            f"{job.method.name} learns before it edits: give requests of other subjects to learn from, with --train "
            "FILE (from Python, train=FILE)"
        )
    return job


def _made(
    lm: LanguageModel,
    algorithm: Intervention,
    cases: Sequence[EditCase],
    how: How,
    job: Job,
    skipped: Counter[str],
) -> EditSequence | dict[str, Patch]:
    """In mode `single` patches by request id. A request that the method cannot carry out changes nothing."""

    def left_out(error: Unusable) -> None:
        skipped[f"request not carried out: {error}"] += 1

    requests = [case.request for case in cases]
    if how.mode != "single":
        at_once = len(requests) if how.mode == "batch" else how.batch_size
        sequence = EditSequence(lm, algorithm, job)
        sequence.extend([requests[i : i + at_once] for i in range(0, len(requests), at_once)], left_out)
        return sequence
    found = {}
    for request, patch in zip(requests, algorithm.apply_each(lm, requests, job), strict=True):
        if isinstance(patch, Unusable):
            left_out(patch)
        found[request.id] = Patch() if isinstance(patch, Unusable) else patch
    return found
