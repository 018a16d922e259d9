"""Pairs of prompts from a file, and how records of all files name themselves in errors.

A file is a JSON list of records, a record in each line (JSONL), or a map whose `examples` are such lists by name.

    {"clean": "When Ann and Bob left, Bob thanked", "corrupt": "When Ann and Bob left, Eve thanked",
     "answer": "Ann", "wrong": "Bob"}
    {"clean_ids": [0, 12, 7], "corrupt_ids": [0, 13, 7], "answer_id": 40, "wrong_id": 41}

`answer` and `wrong` may be lists; a field that ends in `_id` or `_ids` holds token ids and goes before the text of the
same name. Optional: `id`, `subject`, `relation`. A field that is not known is refused, since a misspelt one would
silently drop what it holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import DataError, unknown
from ..items import Answer, Question, Text

FIELDS = frozenset(
    {"id", "subject", "subject_pos", "relation", "clean", "clean_ids", "corrupt", "corrupt_ids"}
    | {name + ending for name in ("answer", "wrong") for ending in ("", "_id", "_ids")}
)
"""What a pair may say; `subject_pos` of files that have it is not needed."""


@dataclass(frozen=True)
class Record:
    """A map in a data file."""

    file: Path
    place: str
    """`record 3 (of 80, from 0)` or `line 4`."""
    data: dict[str, Any]

    def wrong(self, field: str, expected: str) -> DataError:
        """The error to raise: file, place, field, what was expected there and what is there."""
        got = (
            f"got {type(self.data[field]).__name__} {self.data[field]!r:.60}" if field in self.data else "it is missing"
        )
        return DataError(f"{self.file}: {self.place}: {field}: expected {expected}; {got}")

    def text(self, field: str) -> str:
        """A text that says something. Raises DataError."""
        value = self.data.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(field, "a text")
        return value

    def optional(self, field: str) -> str:
        """A text, empty where it is missing or null. Raises DataError."""
        return "" if self.data.get(field) in (None, "") else self.text(field)


def read_json(file: Path) -> Any:
    """The content of a JSON file. Raises DataError."""
    try:
        return json.loads(_content(file))
    except ValueError as error:
        raise DataError(f"{file}: cannot be read as JSON ({error})") from error


def records(file: Path, values: Any, field: str = "") -> list[Record]:
    """The maps of a list that is the file, or its field. Raises DataError."""
    before = f"{field}: " if field else ""
    if not isinstance(values, list) or not values:
        raise DataError(f"{file}: {before}expected a list of records")
    for i, value in enumerate(values):
        if not isinstance(value, dict):
            raise DataError(f"{file}: {before}record {i} (of {len(values)}, from 0): expected a map")
    return [Record(file, f"{before}record {i} (of {len(values)}, from 0)", value) for i, value in enumerate(values)]


def read_questions(file: Path, examples: str | None) -> list[Question]:
    """All pairs of a file, or of one of its lists. Raises DataError naming file, record, field and what to do."""
    found: dict[str, Question] = {}
    for index, record in enumerate(_chosen(file, examples)):
        question = _question(record, f"{examples or 'pair'}-{index}")
        if question.id in found:
            raise record.wrong("id", "an id of its own, another record has it")
        found[question.id] = question
    return list(found.values())


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as UTF-8 text ({error})") from error


def _chosen(file: Path, examples: str | None) -> list[Record]:
    try:
        value = json.loads(_content(file))
    except ValueError:
        lines = list(_lines(file))
        if not lines:
            raise DataError(f"{file}: expected records, the file is empty") from None
        if examples is not None:
            raise DataError(f"{file}: holds no named examples; leave out {examples!r}") from None
        return lines
    named = value.get("examples") if isinstance(value, dict) else None
    if named is None:
        if examples is not None:
            raise DataError(f"{file}: holds no named examples; leave out {examples!r}")
        # A file of one line is JSON, too.
        return records(file, [value] if isinstance(value, dict) else value)
    if not isinstance(named, dict) or not named:
        raise DataError(f"{file}: examples: expected a map of lists by name")
    if examples is None and len(named) > 1:
        raise DataError(f"{file}: holds several examples; choose one of {', '.join(sorted(named))}")
    name = next(iter(named)) if examples is None else examples
    if name not in named:
        raise DataError(f"{file}: {unknown('examples', name, named)}")
    return records(file, named[name], f"examples.{name}")


def _lines(file: Path) -> Iterator[Record]:
    for number, line in enumerate(_content(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{file}: line {number}: cannot be read as JSON ({error}); expected a JSON list of records, or one "
                "record in each line"
            ) from error
        if not isinstance(value, dict):
            raise DataError(f"{file}: line {number}: expected a map")
        yield Record(file, f"line {number}", value)


def _question(record: Record, number: str) -> Question:
    if strange := [name for name in record.data if name not in FIELDS]:
        raise DataError(f"{record.file}: {record.place}: {unknown('field', strange[0], FIELDS)}")
    clean, corrupt = _prompt(record, "clean"), _prompt(record, "corrupt")
    if isinstance(clean, str) != isinstance(corrupt, str):
        raise record.wrong("corrupt", f"text if clean is text, token ids if it is token ids ({clean!r:.40})")
    if clean == corrupt:
        raise record.wrong("corrupt", "another prompt than clean; exchange in it what the answer depends on")
    return Question(
        id=str(record.data["id"]) if record.data.get("id") not in (None, "") else number,
        clean=clean,
        answers=_answers(record, "answer", texts=isinstance(clean, str)),
        corrupt=corrupt,
        wrongs=_answers(record, "wrong", texts=isinstance(clean, str)),
        group=record.optional("relation"),
        subject=record.optional("subject"),
        relation=record.optional("relation"),
        place=f"{record.file}: {record.place}",
    )


def _prompt(record: Record, field: str) -> Text:
    for name in (f"{field}_ids", field):
        value = record.data.get(name)
        if isinstance(value, list) and value and all(map(_is_id, value)):
            return tuple(value)
        if value is not None and (name != field or not isinstance(value, str)):
            raise record.wrong(name, "a list of token ids" if name != field else "a text, or a list of token ids")
    return record.text(field)


def _answers(record: Record, field: str, *, texts: bool) -> tuple[Answer, ...]:
    """Token ids where they are given; texts only behind prompts of text."""
    for name in (f"{field}_ids", f"{field}_id", field):
        value = record.data.get(name)
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        if values and all(map(_is_id, values)):
            return tuple(values)
        if not texts:
            raise record.wrong(name, f"token ids, since the prompts are token ids; give {field}_id")
        if name != field or not values or not all(isinstance(v, str) and v.strip() for v in values):
            raise record.wrong(name, "a text, a token id, or a list of them")
        return tuple(values)
    raise record.wrong(field, "a text, a token id, or a list of them")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
