"""The protocol `single`: each request alone. The reference of locality is always the untouched model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...job import Job, Part
from ..lm.interventions import YieldsPatch
from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.scoring import Unusable, encode, forced_argmax, greedy
from .data import EditCase
from .params import Edit
from .probes import Before, Reference, locality_rows, locality_scores, questions, target_scores

EXAMPLES = 5
"""Cases of which the report shows the answer before and after."""
REFERENCE_VERSION = 1
"""Raised when `_reference` changes what it computes."""


def edit_one_by_one(protocol: Edit, job: Job) -> Iterator[Part]:
    """Edit, score and put back each request; commit them in chunks."""
    cases: list[EditCase] = job.items()
    lm = job.models["subject"]
    assert isinstance(lm, LanguageModel)
    for name, chunk in job.chunks(cases, protocol.chunk):
        part = Part(name)
        references = _references(protocol, job, lm, chunk)
        shown = EXAMPLES if chunk[0] is cases[0] else 0
        rows = []
        for number, (case, reference) in enumerate(zip(chunk, references, strict=True)):
            rows += _edit_case(protocol, job, lm, case, reference, part, example=number < shown)
        if rows:
            title = "What the model says to the edited prompt, before and after"
            part.exhibits["examples"] = {"type": "text-pair", "title": title, "rows": rows}
        yield part


def _references(protocol: Edit, job: Job, lm: LanguageModel, chunk: Sequence[EditCase]) -> list[Reference]:
    """What the untouched model answers to the locality questions of each case; shared by all methods."""
    asked = [[q for q in questions(lm, case, Patch())[0] if q.measure == "locality"] for case in chunk]
    rows = [q.row for case in asked for q in case]
    key = {
        "model": job.fingerprints["subject"],
        "rows": [[r.ids, r.start] for r in rows],
        "version": REFERENCE_VERSION,
    }

    def build() -> list[Any]:
        forced = forced_argmax(lm, rows, protocol.batch_size)
        own = greedy(lm, [r.prompt for r in rows], [len(r.target) for r in rows], protocol.batch_size)
        return [[list(f), list(g)] for f, g in zip(forced, own, strict=True)]

    answers = iter(job.artifacts.get("edit-reference", key, build))
    return [{(q.kind, q.probe): Before(q.row.target, *map(tuple, next(answers))) for q in case} for case in asked]


def _edit_case(
    protocol: Edit,
    job: Job,
    lm: LanguageModel,
    case: EditCase,
    reference: Reference,
    part: Part,
    example: bool,
) -> list[list[str]]:
    """Score one case into `part`. Returns rows `[request, answer before, answer after]` for the report."""
    item, algorithm = case.request.id, job.method.algorithm
    assert isinstance(algorithm, YieldsPatch)
    try:
        patch, _ = algorithm.apply(lm, [case.request], None, job)
    except Unusable as error:
        part.items.append({"item": item, "skipped": f"request: {error}"})
        return []
    asked, reasons = questions(lm, case, patch)
    part.items.append({"item": item, "subject": case.request.subject})
    for reason in reasons:
        part.skip(reason)
    direct = [q for q in asked if q.measure != "locality"]
    local, along_data, along_own = locality_rows(asked, reference)
    rows = [*(q.row for q in direct), *along_data, *along_own]
    with patch.applied(lm):
        said = forced_argmax(lm, rows, protocol.batch_size)
        after = _answer(lm, case, patch) if example else []
    n, m = len(direct), len(direct) + len(local)
    found = target_scores(direct, said[:n]) | locality_scores(local, reference, said[n:m], said[m:])
    for metric, value in found.items():
        part.record(item, metric, value)
    request = f"{case.request.prompt} → {case.request.target_new}"
    return [[request, *_answer(lm, case, Patch()), *after]] if after else []


def _answer(lm: LanguageModel, case: EditCase, patch: Patch) -> list[str]:
    """The greedy answer to the edited prompt, as many tokens as the new target; empty when it cannot be asked."""
    try:
        row = encode(lm, patch.prompt(case.request.prompt), case.request.target_new)
    except Unusable:
        return []
    (tokens,) = greedy(lm, [row.prompt], [len(row.target)], 1)
    return [lm.tokenizer.decode(tokens)]
