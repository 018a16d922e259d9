"""Requests of a user's own: carried out on a model outside of a run, scored before and after."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, cast

from ...alone import Wanted, job_for
from ...errors import UsageError
from ...job import Job
from ...kinds import TaskSpec
from ...loading.resolve import resolved_json
from ..lm.edited import carried_out
from ..lm.interventions import Intervention
from ..lm.model import LanguageModel
from ..lm.patch import Patch, save_each
from ..lm.scoring import Unusable
from ..lm.streams import without_conflicts
from .cases import EditCase
from .controls import Controls
from .params import Edit
from .probes import askable, references
from .scoring import answers, scored
from .sources.params import EditRequests

Scores = dict[str, dict[str, float]]
"""Request id to metric to value."""


@dataclass(frozen=True)
class Outcome:
    """What became of the requests."""

    model: str
    method: str
    spec: Mapping[str, Any]
    """The method as it was resolved for the model."""
    mode: str
    rows: Sequence[Mapping[str, Any]]
    """For each request its id, the request, answers and scores before and after."""
    skipped: Mapping[str, int]
    patches: Mapping[str, Patch]
    """By request id in mode `single`; else one, under an empty name."""
    cpu_s: float
    """CPU seconds of editing alone."""
    lm: LanguageModel

    def means(self) -> dict[str, dict[str, Any]]:
        """Metric to its mean before and after, and the number of requests that it applies to."""
        metrics = dict.fromkeys(m for row in self.rows for m in row["after"])
        found: dict[str, dict[str, Any]] = {}
        for metric in metrics:
            pairs = [(r["before"].get(metric), r["after"][metric]) for r in self.rows if metric in r["after"]]
            before = [b for b, _ in pairs if b is not None]
            found[metric] = {
                "before": fmean(before) if before else None,
                "after": fmean(a for _, a in pairs),
                "n": len(pairs),
            }
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything but the patches."""
        return {
            "model": self.model,
            "method": self.method,
            "spec": self.spec,
            "mode": self.mode,
            "metrics": self.means(),
            "requests": list(self.rows),
            "left_out": dict(self.skipped),
            "edit_cpu_s": round(self.cpu_s, 4),
        }

    def save_delta(self, file: Path) -> None:
        """Write the changes of the stored weights: `"{case_id}/{parameter}"` in mode `single`, else `"{parameter}"`.

        What is no change of a weight (inserted modules, prompts) stands beside them, as `Patch.save` writes it.
        """
        if self.mode == "single":
            save_each(file, self.patches)
        else:
            self.patches[""].save(file)

    def save_model(self, folder: Path) -> None:
        """Write the edited model in Hugging Face format. Raises UsageError when a folder cannot hold the change."""
        (patch,) = self.patches.values()
        if patch.inserts or patch.prompts or self.lm.surrounded:
            raise UsageError(
                f"--save-model: a folder holds weights alone, and {self.method} on {self.model} is also what surrounds "
                "them (codebooks, prompts); keep the change with --save-delta"
            )
        from ..lm.loading import without_bars

        with without_bars(), patch.applied(self.lm):
            self.lm.model.save_pretrained(folder)
        self.lm.tokenizer.save_pretrained(folder)


def carry_out(
    wanted: Wanted, file: Path, mode: str, batch_size: int, conflicts: str, say: Callable[[str], None]
) -> Outcome:
    """Carry out the requests of a file; `say` is told what is being done.

    Raises SpecError, UsageError, DataError, ModelError, Skip.
    """
    data = EditRequests(type="edit_requests", file=str(file))
    protocol = Edit(type="edit", mode="single", contrast=True)
    cases: Sequence[EditCase] = data.load({"file": file}, None)
    if mode != "single":
        cases, dropped = without_conflicts(cases, cast(Literal["error", "drop", "last"], conflicts))
    else:
        dropped = []
    task = TaskSpec(kind="task", name="command-line", data=data, protocol=protocol)
    job, model, method = job_for(wanted, task, {"data": {"file": file}})
    lm, algorithm = job.models["subject"], job.method.algorithm
    assert isinstance(lm, LanguageModel)
    assert isinstance(algorithm, Intervention)
    skipped: Counter[str] = Counter({"contradicts another request": len(dropped)} if dropped else {})
    cases, reasons = askable(lm, cases)
    skipped.update(f"{case}: {reason}" for case, reason in reasons.items())
    known = references(lm, cases, protocol.forward_batch, job)
    say(f"preparing {method.name} for {model.name} (what takes long is kept for the next time) …")
    algorithm.prepare(lm, job)
    say(f"editing {len(cases)} requests …")
    begun = time.process_time()
    patches = _patches(lm, algorithm, cases, mode, batch_size, job, skipped)
    cpu_s = time.process_time() - begun
    alone = [([c], [r], Patch()) for c, r in zip(cases, known, strict=True)]
    if mode == "single":
        edits = [([c], [r], patches[c.request.id]) for c, r in zip(cases, known, strict=True)]
    else:
        edits = [(list(cases), known, patches[""])]
    controls = Controls(())
    before, after = (
        {item: found for item, _, found in scored(lm, models, protocol, controls, job)} for models in (alone, edits)
    )
    rows = [
        {
            "case_id": case.request.id,
            "request": f"{case.request.prompt} → {case.request.target_new}",
            "answer_before": answers(lm, case, Patch()),
            "answer_after": _answer(lm, case, patches.get(case.request.id) or patches[""]),
            "before": before[case.request.id],
            "after": after[case.request.id],
        }
        for case in cases
    ]
    return Outcome(model.name, method.name, resolved_json(method.spec), mode, rows, skipped, patches, cpu_s, lm)


def _patches(
    lm: LanguageModel,
    algorithm: Intervention,
    cases: Sequence[EditCase],
    mode: str,
    batch_size: int,
    job: Job,
    skipped: Counter[str],
) -> dict[str, Patch]:
    """Patches by request id, or one under an empty name. A request that the method cannot carry out changes nothing."""

    def left_out(error: Unusable) -> None:
        skipped[f"request not carried out: {error}"] += 1

    requests = [case.request for case in cases]
    if mode == "single":
        found = {}
        for request, patch in zip(requests, algorithm.apply_each(lm, requests, job), strict=True):
            if isinstance(patch, Unusable):
                left_out(patch)
            found[request.id] = Patch() if isinstance(patch, Unusable) else patch
        return found
    last = Patch()
    at_once = len(requests) if mode == "batch" else batch_size
    for _, patch, _ in carried_out(lm, algorithm, requests, at_once, job, unusable=left_out):
        last = patch
    return {"": last}


def _answer(lm: LanguageModel, case: EditCase, patch: Patch) -> str:
    with patch.applied(lm):
        return answers(lm, case, patch)
