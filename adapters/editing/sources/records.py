"""What the records of edits have in common beside being records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ....records import Record, got
from ..cases import Probe
from .splits import normalised


def probe(prompt: str, *answers: str) -> Probe:
    """A probe that is left out where another request edits its question: its fact is its prompt, `normalised`."""
    return Probe(prompt, answers, frozenset({normalised(prompt)}))


def identified(records: Iterable[Record]) -> Iterator[tuple[str, Record]]:
    """Each record with its `case_id`, or with its number. Raises DataError for an id that is there twice."""
    seen: dict[str, str] = {}
    for record in records:
        value = record.data.get("case_id", record.index)
        if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
            raise record.wrong("case_id", f"a text or a whole number, {got(value)}")
        if str(value) in seen:
            raise record.wrong("case_id", f"an id of its own, got {str(value)!r} as in {seen[str(value)]}")
        seen[str(value)] = record.place
        yield str(value), record
