"""The questions of an edit case, tokenised as a patched model is asked them, and what the untouched model says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...job import Job
from ..lm.generation import greedy
from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.scoring import Row, Unusable, encode, forced
from .cases import EditCase, Probe
from .told import told
from .untouched import untouched

REFERENCE_VERSION = 2
"""Raised when `references` changes what it computes."""

Place = tuple[str, str, int]
"""Measure, kind, and number of a probe within its kind."""


@dataclass(frozen=True)
class Question:
    """One accepted answer to one probe."""

    place: Place
    probe: Probe
    answer: str
    row: Row


@dataclass(frozen=True)
class Before:
    """What the untouched model says to a locality question."""

    target: tuple[int, ...]
    """The data set's answer."""
    forced: tuple[int, ...]
    """Most probable tokens along it."""
    greedy: tuple[int, ...]
    """The model's own answer, as many tokens long."""


@dataclass(frozen=True)
class Reference:
    """What the untouched model says to a case."""

    before: Mapping[Place, Before]
    unfair: frozenset[Place]
    """Probes that need a fact which the untouched model does not know."""


def probes(case: EditCase) -> Iterator[tuple[Place, Probe]]:
    """Every probe of a case with its place; the edited prompt first."""
    target = (case.request.target_new,)
    yield ("reliability", "", 0), Probe(case.request.prompt, target)
    for i, prompt in enumerate(case.rephrases):
        yield ("generalization", "", i), Probe(prompt, target)
    for measure, kinds in (("locality", case.locality), ("portability", case.portability)):
        for kind, found in kinds.items():
            for i, probe in enumerate(found):
                yield (measure, kind, i), probe


def questions(
    lm: LanguageModel, case: EditCase, patch: Patch, edited: frozenset[str] = frozenset()
) -> tuple[list[Question], list[str]]:
    """All questions of a case as the patched model is asked them, and the reasons of those that cannot be asked.

    `edited`: facts that were changed in the model, this case's own included.
    """
    asked, reasons = [], []
    own = {case.request.fact_id}
    for place, probe in probes(case):
        # What follows from the edit may rest on the edited fact; what must not change may not.
        if probe.facts & (edited if place[0] == "locality" else edited - own):
            reasons.append(f"{place[0]}: what it asks was edited too")
            continue
        usable, unusable = [], []
        for answer in probe.answers:
            try:
                usable.append(Question(place, probe, answer, *told(lm, patch, probe.prompt, [answer])))
            except Unusable as error:
                unusable.append(f"{place[0]}: {error}")
        if not usable:
            reasons += unusable[:1]
        # Locality compares with the model's own answer, so one length is enough.
        asked += usable[:1] if place[0] == "locality" else usable
    return asked, reasons


def references(lm: LanguageModel, cases: Sequence[EditCase], batch_size: int, job: Job) -> list[Reference]:
    """What the untouched model says; shared by all methods. Raises RuntimeError on a patched model."""
    asked = [[q for q in questions(lm, case, Patch())[0] if q.place[0] == "locality"] for case in cases]
    needed = [list(_needed(lm, case)) for case in cases]
    rows = [q.row for of_case in asked for q in of_case]
    facts = [row for of_case in needed for _, row in of_case if row]
    key = {
        "rows": [[r.ids, r.start] for r in rows],
        "facts": [[r.ids, r.start] for r in facts],
        "version": REFERENCE_VERSION,
    }

    def build() -> dict[str, Any]:
        along = [f.tokens for f in forced(lm, rows, batch_size)]
        own = greedy(lm, [r.prompt for r in rows], [len(r.target) for r in rows], batch_size)
        known = [f.tokens == r.target for f, r in zip(forced(lm, facts, batch_size), facts, strict=True)]
        return {"before": [[list(f), list(g)] for f, g in zip(along, own, strict=True)], "known": known}

    said = untouched(lm, job, "edit-reference", key, build)
    answers, known = iter(said["before"]), iter(said["known"])
    before = [{q.place: Before(q.row.target, *map(tuple, next(answers))) for q in of_case} for of_case in asked]
    # Every fact of a case takes its answer, also behind one that is unknown.
    unfair = [frozenset({place for place, row in of_case if row is None or not next(known)}) for of_case in needed]
    return [Reference(b, u) for b, u in zip(before, unfair, strict=True)]


def _needed(lm: LanguageModel, case: EditCase) -> Iterator[tuple[Place, Row | None]]:
    """The facts that probes need; None for one that the model cannot be asked, and so does not know."""
    for place, probe in probes(case):
        for fact in probe.needs:
            try:
                yield place, encode(lm, fact.prompt, fact.answer)
            except Unusable:
                yield place, None
