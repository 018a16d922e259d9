"""Edit cases: a request and the probes that show what else it changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..lm.requests import EditRequest


@dataclass(frozen=True)
class Probe:
    """A prompt and the answers that count as right; for locality only the length of the first one matters."""

    prompt: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class EditCase:
    """One request with its probes; locality and portability by the data set's own kinds."""

    request: EditRequest
    rephrases: tuple[str, ...] = ()
    locality: Mapping[str, tuple[Probe, ...]] = field(default_factory=dict)
    portability: Mapping[str, tuple[Probe, ...]] = field(default_factory=dict)


def load_knowedit(file: Path, limit: int | None) -> list[EditCase]:
    """The first `limit` records of a KnowEdit file. Raises DataError with the record's number and the field."""
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(records, list) or not records:
        raise DataError(f"{file}: expected a JSON list of records")
    return [_case(_Record(file, i, len(records), r)) for i, r in enumerate(records[:limit])]


@dataclass(frozen=True)
class _Record:
    """A record that can name itself in an error."""

    file: Path
    index: int
    count: int
    data: Any

    def wrong(self, field_: str, expected: str) -> DataError:
        return DataError(f"{self.file}: record {self.index} (of {self.count}, from 0): {field_}: expected {expected}")

    def text(self, name: str) -> str:
        value = self.data.get(name)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, f"a text, {'got ' + repr(value)[:60] if name in self.data else 'it is missing'}")
        return value


def _case(record: _Record) -> EditCase:
    if not isinstance(record.data, dict):
        raise record.wrong("(all)", "a map")
    request = EditRequest(
        id=f"{record.index:06d}",
        prompt=record.text("prompt"),
        subject=record.text("subject"),
        target_new=record.text("target_new"),
    )
    rephrase = record.data.get("rephrase_prompt")
    return EditCase(
        request,
        (record.text("rephrase_prompt"),) if rephrase is not None else (),
        dict(_kinds(record, "locality")),
        dict(_kinds(record, "portability")),
    )


def _kinds(record: _Record, name: str) -> Iterator[tuple[str, tuple[Probe, ...]]]:
    groups = record.data.get(name) or {}
    if not isinstance(groups, dict):
        raise record.wrong(name, "a map of lists")
    for kind, probes in groups.items():
        if not isinstance(probes, list):
            raise record.wrong(f"{name}.{kind}", "a list")
        yield kind, tuple(_probe(record, f"{name}.{kind}.{i}", p) for i, p in enumerate(probes))


def _probe(record: _Record, place: str, probe: Any) -> Probe:
    if not isinstance(probe, dict) or not isinstance(probe.get("prompt"), str):
        raise record.wrong(place, "a map with a text `prompt`")
    answers = tuple(_texts(probe.get("ground_truth")))
    if not answers:
        raise record.wrong(f"{place}.ground_truth", "a text or a list of texts")
    return Probe(probe["prompt"], answers)


def _texts(value: Any) -> Iterator[str]:
    """Texts of an answer, which KnowEdit writes as a text, a list, or a list of lists of aliases."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child)
