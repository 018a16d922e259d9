"""QAEdit's records (Yang et al. 2025, arXiv 2502.11177): a question, its right answer, and questions of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ....records import Record, read_records
from ...lm.requests import EditRequest
from ..cases import EditCase, Probe
from ..sources.records import probe
from ..sources.splits import normalised


def qaedit_cases(file: Path) -> Iterator[EditCase]:
    """The records of a file; their `id` is that of their source, so they are numbered. Raises DataError naming record
    and field."""
    return map(_case, read_records(file))


def _case(record: Record) -> EditCase:
    prompt = record.text("prompt")
    request = EditRequest(
        id=f"{record.index:06d}",
        prompt=prompt,
        subject=record.text("subject"),
        target_new=record.text("target"),
        fact=normalised(prompt),
    )
    others = tuple(_other(record, i, value) for i, value in enumerate(record.items("locality")))
    return EditCase(request, record.one("rephrase"), {"other": others} if others else {})


def _other(record: Record, number: int, value: object) -> Probe:
    if not isinstance(value, dict):
        raise record.wrong(f"locality.{number}", "a map with `loc` and `loc_ans`")
    one = Record(record.file, f"{record.place}: locality.{number}", record.index, value)
    return probe(one.text("loc"), *one.answers("loc_ans", value.get("loc_ans")))
