"""KnowEdit's files (Zhang et al. 2024, arXiv 2401.01286): ZsRE, WikiData counterfact and recent, WikiBio, Sanitation.

ConvSent is refused: it asks for a sentiment, and its score compares the likelihoods of whole friendly and unfriendly
replies; no prompt and target say that. It is a track of its own (../sentiment).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ....errors import DataError
from ....records import Record, listed, read_json
from ...lm.requests import EditRequest
from ..cases import EditCase, Probe
from ..metrics import KINDS
from .records import probe
from .splits import normalised

_KINDS = {
    "relation_specificity": "same_subject",
    "other_attribution": "same_subject",
    "neighborhood": "neighbourhood",
    "distracting_neighbor": "distracting",
    "subject_aliasing": "alias",
    "subject_replace": "alias",
    "reasoning": "two_hop",
    "one_hop": "two_hop",
    "logical_generalization": "logical",
    "inverse_relation": "inverse",
}
"""What KnowEdit and EasyEdit call a kind of probe, and what it is called here."""

_SANITATION = {"K_F": "K_R", "success": "locality"}
"""Field of the questions to be refused, field of those to be answered as before (training file, test file)."""


def knowedit_cases(file: Path) -> Iterator[EditCase]:
    """The records of a KnowEdit file. Raises DataError naming record and field."""
    data = read_json(file)
    if isinstance(data, dict):
        yield from _sanitation(file, data)
        return
    for record in listed(file, data):
        if "ent" in record.data:
            raise DataError(
                f"{file}: ConvSent is not supported as facts: it edits a sentiment, which no prompt and target "
                "express; write `data: {type: convsent, file: ...}` and `protocol: {type: edit_sentiment, ...}`"
            )
        yield _biography(record) if "concept" in record.data else _fact(record)


def _fact(record: Record) -> EditCase:
    prompt = record.text("prompt")
    request = EditRequest(
        id=f"{record.index:06d}",
        prompt=prompt,
        subject=record.text("subject"),
        target_new=record.text("target_new"),
        target_true=record.answer("ground_truth"),  # WikiData recent has none: its facts are new
        fact=normalised(prompt),
    )
    return EditCase(request, record.one("rephrase_prompt"), nested(record, "locality"), nested(record, "portability"))


def _biography(record: Record) -> EditCase:
    """WikiBio: after the passage so far, the next sentence shall be Wikipedia's, not the one that a model made up."""
    passage = record.text("text")
    request = EditRequest(
        id=f"{record.index:06d}",
        prompt=passage,
        subject=record.text("concept"),
        target_new=record.text("labels"),
        fact=normalised(passage),
    )
    return EditCase(request, locality=nested(record, "locality"))


def _sanitation(file: Path, data: Mapping[str, Any]) -> Iterator[EditCase]:
    """Sanitation: some questions of TriviaQA shall be refused, the others be answered as before.

    The questions to be kept are dealt out, so that each is asked with one request. The test file names no subjects:
    there the whole question stands for it, and methods that edit at a subject edit at the question's end.
    """
    forget = next((name for name in _SANITATION if name in data), None)
    if forget is None:
        expected = " or ".join(f"{f!r} and {r!r}" for f, r in _SANITATION.items())
        raise DataError(f"{file}: expected a JSON list of records, or a map with {expected} (Sanitation)")
    requests = listed(file, data[forget], forget)
    kept = [
        probe(r.text("question"), *r.answers("ground_truth", r.data.get("ground_truth")))
        for r in listed(file, data.get(_SANITATION[forget]), _SANITATION[forget])
    ]
    for record in requests:
        question = record.text("question")
        request = EditRequest(
            id=f"{record.index:06d}",
            prompt=question,
            subject=record.optional("subject") or question,
            target_new=record.text("target_new"),
            target_true=record.answer("ground_truth"),
            fact=normalised(question),
        )
        yield EditCase(request, locality={"other": tuple(kept[record.index :: len(requests)])})


def nested(record: Record, measure: str) -> dict[str, tuple[Probe, ...]]:
    """Probes in KnowEdit's nested form, `{kind: [{prompt, ground_truth}]}`, under canonical kinds (`metrics.KINDS`).

    A kind that has no canonical name is `other`. Raises DataError naming the place.
    """
    groups = record.data.get(measure) or {}
    if not isinstance(groups, dict):
        raise record.wrong(measure, "a map of lists")
    found: dict[str, tuple[Probe, ...]] = {}
    for name, values in groups.items():
        if not isinstance(values, list):
            raise record.wrong(f"{measure}.{name}", "a list")
        probes = tuple(_probe(record, f"{measure}.{name}.{i}", v) for i, v in enumerate(values))
        if probes:
            kind = canonical(measure, name)
            found[kind] = found.get(kind, ()) + probes
    return found


def canonical(measure: str, name: str) -> str:
    """The kind of probe that a data set calls `name`.

    >>> canonical("portability", "Subject_Aliasing"), canonical("locality", "mine")
    ('alias', 'other')
    """
    plain = name.casefold().replace(" ", "_").replace("-", "_")
    kind = _KINDS.get(plain, plain)
    return kind if kind in KINDS[measure] else "other"


def _probe(record: Record, where: str, value: Any) -> Probe:
    if not isinstance(value, dict) or not isinstance(value.get("prompt"), str):
        raise record.wrong(where, "a map with a text `prompt`")
    prompt = record.checked(f"{where}.prompt", value["prompt"])
    return probe(prompt, *record.answers(f"{where}.ground_truth", value.get("ground_truth")))
