"""Requests carried out one after the other, and models that stay edited."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...errors import ModelError
from ...job import Job, Part, fingerprint
from ...loading.resolve import identity
from .interventions import Intervention
from .model import LanguageModel
from .patch import Patch
from .requests import EditRequest
from .scoring import Unusable

if TYPE_CHECKING:
    from ...components import Opening
    from .interventions import State
    from .params import Edited


def carried_out(
    lm: LanguageModel,
    method: Intervention,
    requests: Sequence[EditRequest],
    at_once: int,
    job: Job,
    begun: tuple[Patch, State] = (Patch(), None),
    unusable: Callable[[Unusable], object] | None = None,
) -> Iterator[tuple[int, Patch, State]]:
    """Carry out `requests`, `at_once` together, each time on the model as it is by then.

    Yields after each step how many are done, the patch of all of them relative to the untouched model, and the
    method's state. `begun`: where an earlier attempt had come to. `unusable` is told of each request that the method
    cannot carry out, which is left out; without it Unusable is raised. Raises Skip.
    """
    total, state = begun
    for start in range(0, len(requests), at_once):
        batch = []
        for request in requests[start : start + at_once]:
            try:
                method.check(lm, request, job)
                batch.append(request)
            except Unusable as error:
                if unusable is None:
                    raise
                unusable(error)
        if batch:
            with total.applied(lm):
                patch, state = method.apply(lm, batch, state, job)
            total = total.then(patch)
        yield min(start + at_once, len(requests)), total, state


def open_edited(source: Edited, opening: Opening) -> LanguageModel:
    """Open the base model and edit it for good. Raises ModelError."""
    base, method, task = (opening.named[field] for field in ("base", "method", "task"))
    algorithm = method.spec.algorithm
    if not isinstance(algorithm, Intervention) or "edit_requests" not in task.spec.protocol.offers:
        raise ModelError(f"{method.spec.name} on {task.spec.name}: expected an editor and a task with edit requests")
    items = task.spec.data.load(task.files.get("data", {}), None)
    if len(items) < source.first:
        raise ModelError(f"task {task.spec.name} has {len(items)} requests, the model asks for {source.first}")
    lm = opening.open("base")
    assert isinstance(lm, LanguageModel)
    state = fingerprint(base.weights, identity(base.spec.source), opening.dtype, opening.device, opening.threads)
    job = Job(
        task=task.spec,
        method=method.spec,
        seed=source.seed,
        limit=None,
        models={"subject": lm},
        fingerprints={"subject": state},
        files=method.files,
        artifacts=opening.artifacts,
        training=task.spec.data.training(task.files.get("data", {})),
    )
    algorithm.prepare(lm, job)
    requests = [item.request for item in items[: source.first]]
    try:
        patch = _patch(algorithm, lm, requests, source.at_once, job)
    except Unusable as error:
        who = f"{method.spec.name} cannot carry out one of the first {source.first} requests of {task.spec.name}"
        raise ModelError(f"{who}: {error}") from error
    if patch.decoding:
        raise ModelError(f"{method.spec.name} is a way of decoding, which no model can keep")
    lm.keep(patch)
    return lm


def _patch(
    algorithm: Intervention, lm: LanguageModel, requests: Sequence[EditRequest], at_once: int, job: Job
) -> Patch:
    """What the method makes of the requests, or, when it is made once, of the training split or of nothing."""
    if algorithm.scope != "per_instance":
        return algorithm.apply(lm, job.training if algorithm.scope == "dataset" else [], None, job)[0]
    last = Patch()
    for _, patch, _ in carried_out(lm, algorithm, requests, at_once, job):
        last = patch
    return last


@contextmanager
def costing(part: Part, edits: int) -> Iterator[None]:
    """Add what editing (not scoring) costs inside `with`."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    spent = {
        "edits": edits,
        "edit_wall_s": round(time.perf_counter() - wall, 4),
        "edit_cpu_s": round(time.process_time() - cpu, 4),
    }
    for name, value in spent.items():
        part.cost[name] = part.cost.get(name, 0) + value
