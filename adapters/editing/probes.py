"""From an edit case to tokenised rows, and from the model's answers to the case's scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.scoring import Row, Unusable, encode
from .data import EditCase, Probe
from .metrics import token_share


@dataclass(frozen=True)
class Asked:
    """One question to the model, tokenised."""

    measure: str
    """`reliability`, `generalization`, `locality`, `portability`."""
    kind: str
    probe: int
    """Number of the probe within its kind; alternatives of an answer share it."""
    prompt: str
    answer: str
    row: Row


def questions(lm: LanguageModel, case: EditCase, patch: Patch) -> tuple[list[Asked], list[str]]:
    """All questions of a case as the patched model is asked them, and the reasons of those that cannot be asked."""
    asked, reasons = [], []
    for measure, kind, number, probe in _probes(case):
        usable, unusable = [], []
        for answer in probe.answers:
            try:
                row = encode(lm, patch.prompt(probe.prompt), answer)
                usable.append(Asked(measure, kind, number, probe.prompt, answer, row))
            except Unusable as error:
                unusable.append(f"{measure}: {error}")
        if not usable:
            reasons += unusable[:1]
        # Locality compares with the model's own answer, so one length is enough.
        asked += usable[:1] if measure == "locality" else usable
    return asked, reasons


def _probes(case: EditCase) -> Iterator[tuple[str, str, int, Probe]]:
    target = (case.request.target_new,)
    yield "reliability", "", 0, Probe(case.request.prompt, target)
    for i, prompt in enumerate(case.rephrases):
        yield "generalization", "", i, Probe(prompt, target)
    for measure, kinds in (("locality", case.locality), ("portability", case.portability)):
        for kind, probes in kinds.items():
            for i, probe in enumerate(probes):
                yield measure, kind, i, probe


@dataclass(frozen=True)
class Before:
    """What the untouched model says to a locality question."""

    target: tuple[int, ...]
    """The data set's answer."""
    forced: tuple[int, ...]
    """Most probable tokens along it."""
    greedy: tuple[int, ...]
    """The model's own answer, as many tokens long."""


Reference = Mapping[tuple[str, int], Before]
"""By kind and number of the locality probe."""


def locality_rows(asked: Sequence[Asked], reference: Reference) -> tuple[list[Asked], list[Row], list[Row]]:
    """The locality questions that the untouched model was asked too, each along the data set's answer and along the
    untouched model's own. The answers' tokens are the reference's, whatever stands before the prompt now."""
    local = [q for q in asked if q.measure == "locality" and (q.kind, q.probe) in reference]
    known = [reference[q.kind, q.probe] for q in local]
    forced = [q.row.with_target(b.target) for q, b in zip(local, known, strict=True)]
    own = [q.row.with_target(b.greedy) for q, b in zip(local, known, strict=True)]
    return local, forced, own


def target_scores(asked: Sequence[Asked], forced: Sequence[tuple[int, ...]]) -> dict[str, float]:
    """Scores of questions with a right answer; of several accepted answers the best one counts."""
    token: dict[tuple[str, str, int], float] = defaultdict(float)
    exact: dict[tuple[str, str, int], float] = defaultdict(float)
    for question, said in zip(asked, forced, strict=True):
        key = (question.measure, question.kind, question.probe)
        token[key] = max(token[key], token_share(said, question.row.target))
        exact[key] = max(exact[key], float(said == question.row.target))
    return _averaged("exact", exact) | _averaged("token", token)


def locality_scores(
    local: Sequence[Asked],
    reference: Reference,
    forced: Sequence[tuple[int, ...]],
    own: Sequence[tuple[int, ...]],
) -> dict[str, float]:
    """Agreement with the untouched model; `forced` and `own` are the patched model's most probable tokens."""
    token, exact = {}, {}
    for question, along_data, along_own in zip(local, forced, own, strict=True):
        before, key = reference[question.kind, question.probe], ("locality", question.kind, question.probe)
        token[key] = token_share(along_data, before.forced)
        exact[key] = float(along_own == before.greedy)
    return _averaged("exact", exact) | _averaged("token", token)


def _averaged(strength: str, values: Mapping[tuple[str, str, int], float]) -> dict[str, float]:
    kinds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (measure, kind, _), value in values.items():
        kinds[measure][kind].append(value)
    return {f"{m}.{strength}": fmean(fmean(v) for v in by_kind.values()) for m, by_kind in kinds.items()}
