"""Single instances of a user's own, outside of a run: detoxified one by one, and a whole task on one model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ...alone import Wanted, job_for, task_of
from ...errors import UsageError
from ...job import Part
from ...kinds import MethodSpec, TaskSpec
from ...loading.resolve import Resolved, resolved_json
from ...store import Cell
from ..lm.interventions import Intervention
from ..lm.interventions.none import Nothing
from ..lm.losses import Targets
from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.requests import EditRequest
from ..lm.scoring import Row, Unusable, batches, encode
from .params import Detox, Exact
from .sources.params import SafeEdit

BATCH = 16


@dataclass(frozen=True)
class Carried:
    """What became of single instances."""

    model: str
    method: str
    spec: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    """For each instance its id, what the method tells of it (located layer, losses), and the mean negative
    log-likelihood of both responses before and after, in nats per token. No text."""
    skipped: Mapping[str, int]
    patches: Mapping[str, Patch]

    def to_json(self) -> dict[str, Any]:
        """Everything but the patches."""
        said = {"model": self.model, "method": self.method, "spec": self.spec}
        return {**said, "instances": _finite(list(self.rows)), "left_out": dict(self.skipped)}


def _finite(value: Any) -> Any:
    """JSON data with null in place of what is no number, as the losses of a model that was broken."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def carry_out(wanted: Wanted, file: Path, limit: int | None, say: Callable[[str], None]) -> Carried:
    """Detoxify a model for each instance of a file in SafeEdit's format, each alone; `say` is told what is being done.

    Raises SpecError, UsageError, DataError, ModelError, Skip.
    """
    data = SafeEdit(type="safeedit", file=str(file))
    protocol = Detox(type="detox", judge=Exact(type="exact"), new_tokens=1)
    task = TaskSpec(kind="task", name="command-line", data=data, protocol=protocol)
    cases = data.load({"file": file}, limit)
    job, model, method = job_for(wanted, task, {"data": {"file": file}})
    lm, algorithm = job.models["subject"], job.method.algorithm
    assert isinstance(lm, LanguageModel)
    assert isinstance(algorithm, Intervention)
    if algorithm.scope != "per_instance" or "training_requests" in algorithm.consumes:
        needs = "is made once for a model" if algorithm.scope != "per_instance" else "needs a training split"
        raise UsageError(f"method {method.name!r} {needs}, so it cannot work on --requests; name a task with --task")
    say(f"detoxifying {model.name} with {method.name}, {len(cases)} instances, each alone …")
    algorithm.prepare(lm, job)
    requests = [case.request for case in cases]
    patches: dict[str, Patch] = {}
    skipped: Counter[str] = Counter()
    for request, patch in zip(requests, algorithm.apply_each(lm, requests, job), strict=True):
        if isinstance(patch, Unusable):
            skipped[f"instance {request.id}: {patch}"] += 1
        else:
            patches[request.id] = patch
    if not patches:
        raise UsageError(f"--requests {file}: none can be carried out; {'; '.join(list(skipped)[:3])}")
    rows = []
    for request in (request for request in requests if request.id in patches):
        patch = patches[request.id]
        told = {answer: _told(lm, request, answer, patch) for answer in ("safe", "unsafe")}
        skipped.update(f"likelihood of the {answer} response: {why}" for answer, why in told.items() if why)
        answers = [answer for answer, why in told.items() if why is None]
        old = _nll(lm, request, answers, Patch())
        with patch.applied(lm):
            new = _nll(lm, request, answers, patch)
        rows.append({"id": request.id, **patch.notes, "responses": {"before": old, "after": new}})
    return Carried(model.name, method.name, resolved_json(method.spec), rows, skipped, patches)


def _row(lm: LanguageModel, request: EditRequest, answer: str, patch: Patch) -> Row:
    text = request.target_new if answer == "safe" else request.target_true
    return encode(lm, patch.prompt(request.prompt), text or "")


def _told(lm: LanguageModel, request: EditRequest, answer: str, patch: Patch) -> str | None:
    """Why the likelihood of a response cannot be told, before or behind the patch; None where it can."""
    try:
        for one in (Patch(), patch):
            _row(lm, request, answer, one)
    except Unusable as error:
        return str(error)
    return None


def _nll(lm: LanguageModel, request: EditRequest, answers: Sequence[str], patch: Patch) -> dict[str, float]:
    """Of the safe and the unsafe response behind the prompt as the patch puts it, in the model as it is."""
    rows: dict[str, Row] = {answer: _row(lm, request, answer, patch) for answer in answers}
    found: dict[str, float] = {}
    for chosen in batches(list(rows.values()), BATCH):
        names = [list(rows)[i] for i in chosen]
        found |= zip(names, Targets(lm, [rows[n] for n in names]).nll().tolist(), strict=True)
    return {name: round(found[name], 6) for name in rows}


@dataclass(frozen=True)
class Whole:
    """A task on one model."""

    task: TaskSpec
    model: str
    method: str
    spec: Mapping[str, Any]
    values: Mapping[str, Mapping[str, Any]]
    """Metric (with its condition) to `value`, `before`, of the untouched model, and the number of items, `n`."""
    skipped: Mapping[str, int]
    exhibits: Sequence[Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Everything but the exhibits."""
        said = {"task": self.task.name, "model": self.model, "method": self.method, "spec": self.spec}
        return {**said, "metrics": self.values, "left_out": dict(self.skipped)}


def on_task(
    wanted: Wanted,
    name: str,
    data: str | None,
    limit: int | None,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Whole:
    """Run a detox task on a model. Raises SpecError, UsageError, DataError, ModelError, Skip."""
    task, files = task_of(name, wanted.specs, data)
    if not isinstance(task.protocol, Detox):
        raise UsageError(f"task {task.name!r} is no detox task; `benchwright list tasks` shows which are")
    job, model, method = job_for(wanted, task, files)
    job = replace(job, limit=limit, progress=progress)
    say(f"{task.name}: {method.name} on {model.name} …")
    parts = list(task.protocol.run(job))
    # The untouched model, asked the same; what is attacked and looked into is the method's alone.
    plain = task.protocol.model_copy(update={"relearning": None, "mechanism": None, "general": None})
    untouched = replace(job, method=MethodSpec(kind="method", name="untouched", algorithm=Nothing(type="none")))
    before = _values(task, list(plain.run(untouched)))
    values = {
        name: {"before": before.get(name, (None, 0))[0], "value": value, "n": n}
        for name, (value, n) in _values(task, parts).items()
    }
    return _whole(task, values, parts, model, method)


def _values(task: TaskSpec, parts: Sequence[Part]) -> dict[str, tuple[float | None, int]]:
    """Metric, with its condition, to its value and the number of items, in the task's order."""
    cell = Cell({}, [r for p in parts for r in p.records], [i for p in parts for i in p.items])
    first = {name: place for place, name in enumerate(task.metrics)}
    metrics = sorted(task.protocol.metrics(), key=lambda m: first.get(m.id, len(first)))
    found: dict[str, tuple[float | None, int]] = {}
    for metric in metrics:
        for at, sample in sorted(cell.samples(metric).items()):
            condition = f"[{', '.join(f'{k}={v}' for k, v in at)}]" if at else ""
            value = float(metric.value(sample.columns)[0])
            found[metric.id + condition] = value if np.isfinite(value) else None, len(sample)
    return found


def _whole(
    task: TaskSpec, values: Mapping[str, Mapping[str, Any]], parts: Sequence[Part], model: Resolved, method: Resolved
) -> Whole:
    skipped: Counter[str] = Counter()
    for part in parts:
        skipped.update(part.skipped)
    exhibits = [exhibit for part in parts for exhibit in part.exhibits.values()]
    titles = {metric.id: metric.title for metric in task.protocol.metrics()}
    rows = [
        [f"{titles[name.partition('[')[0]]} {name.partition('[')[2].rstrip(']')}".strip(), *map(shown, found.values())]
        for name, found in values.items()
    ]
    heads = ["metric", "untouched", "detoxified", "items"]
    exhibits = [{"type": "table", "title": task.title or task.name, "heads": heads, "rows": rows}, *exhibits]
    return Whole(task, model.name, method.name, resolved_json(method.spec), values, skipped, exhibits)


def shown(value: Any) -> str:
    """A number as a table shows it; a dash for none."""
    if isinstance(value, float):
        return f"{value:.3f}".replace("-0.000", "0.000")
    return "–" if value is None else str(value)


def differences(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean negative log-likelihood of each response before and after, over the instances that have it."""
    found: dict[str, dict[str, float]] = {}
    for answer in ("safe", "unsafe"):
        known = [row["responses"] for row in rows if answer in row["responses"]["before"]]
        if known:
            found[answer] = {when: fmean(nll[when][answer] for nll in known) for when in ("before", "after")}
    return found
