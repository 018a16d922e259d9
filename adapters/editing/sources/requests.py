"""Edit requests of a user's own: a JSON list, or JSONL, with the names of fields that published files use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ....errors import DataError, unknown
from ....records import Record, read_any
from ...lm.requests import EditRequest
from ..cases import EditCase, Probe
from .knowedit import nested
from .records import identified, probe
from .splits import normalised

_REPHRASES = ("rephrase", "rephrase_prompt")
_ANSWERS = {
    "locality": ("locality_answer", "locality_ground_truth"),
    "portability": ("portability_answer", "portability_ground_truth"),
}
_FIELDS = {
    *("case_id", "prompt", "subject", "target_new", "ground_truth", "target_true", "relation", "paraphrases"),
    *_REPHRASES,
    *(name for measure, answers in _ANSWERS.items() for name in (measure, f"{measure}_prompt", *answers)),
}


def request_cases(file: Path) -> Iterator[EditCase]:
    """The requests of a file. Raises DataError naming record or line, field, and how to put it right.

    Needed are `prompt`, `subject` and `target_new`. A field that is not known is refused, since a misspelt one would
    silently drop what it holds.
    """
    yield from cases_of(read_any(file))


def cases_of(records: Iterable[Record]) -> Iterator[EditCase]:
    """See `request_cases`."""
    for case_id, record in identified(records):
        for name in record.data:
            if name not in _FIELDS:
                raise DataError(f"{record.file}: {record.place}: {unknown('field', name, _FIELDS)}")
        yield _case(case_id, record)


def _case(case_id: str, record: Record) -> EditCase:
    prompt, subject = record.text("prompt"), record.text("subject")
    if subject not in prompt:
        raise record.wrong("subject", f"words of the prompt, got {subject!r}; write it as it stands there")
    request = EditRequest(
        id=case_id,
        prompt=prompt,
        subject=subject,
        target_new=record.text("target_new"),
        target_true=record.answer("target_true", "ground_truth"),
        relation=record.optional("relation") or "",
        fact=normalised(prompt),
    )
    rephrases = (*record.one(*_REPHRASES), *record.texts("paraphrases"))
    return EditCase(request, rephrases, _probes(record, "locality"), _probes(record, "portability"))


def _probes(record: Record, measure: str) -> Mapping[str, tuple[Probe, ...]]:
    """The nested probes, and the one that stands flat in the record as kind `other`."""
    found = nested(record, measure)
    prompt = record.optional(f"{measure}_prompt")
    if prompt is not None:
        names = _ANSWERS[measure]
        name = next((n for n in names if n in record.data), names[0])
        flat = probe(prompt, *record.answers(name, record.data.get(name)))
        found["other"] = (*found.get("other", ()), flat)
    return found
