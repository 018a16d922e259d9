"""Records of data files, JSON or JSONL, that name themselves in errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DataError


@dataclass(frozen=True)
class Record:
    """A map in a data file."""

    file: Path
    place: str
    """Where it is, `record 3 (of 80, from 0)` or `line 4`."""
    index: int
    """Its number among the records, from 0."""
    data: Mapping[str, Any]

    def wrong(self, field: str, expected: str) -> DataError:
        """The error to raise: file, place, field, and what was expected there."""
        return DataError(f"{self.file}: {self.place}: {field}: expected {expected}")

    def unlike(self, field: str, expected: str) -> DataError:
        """The same with what is there."""
        return self.wrong(field, f"{expected}, {got(self.data[field]) if field in self.data else 'it is missing'}")

    def text(self, name: str) -> str:
        """A text that must be there. Raises DataError."""
        if name not in self.data:
            raise self.wrong(name, "a text, it is missing")
        return self.checked(name, self.data[name])

    def optional(self, *names: str) -> str | None:
        """The first of these fields that is there; null and empty count as missing. Raises DataError for no text."""
        for name in names:
            value = self.data.get(name)
            if value is not None and value != "":
                return self.checked(name, value)
        return None

    def one(self, *names: str) -> tuple[str, ...]:
        """`optional`, as the only item of a tuple; an empty tuple where there is none."""
        found = self.optional(*names)
        return () if found is None else (found,)

    def part(self, name: str) -> Record:
        """A map inside this record, its fields named `name.field` in errors. Raises DataError."""
        value = self.data.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, f"a map, {got(value)}" if name in self.data else "a map, it is missing")
        return Record(self.file, f"{self.place}: {name}", self.index, value)

    def items(self, name: str) -> list[Any]:
        """A list, empty where it is missing or null. Raises DataError."""
        value = self.data.get(name)
        if value is not None and not isinstance(value, list):
            raise self.wrong(name, f"a list, {got(value)}")
        return value or []

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, empty where it is missing. Raises DataError naming the item."""
        return tuple(self.checked(f"{name}.{i}", value) for i, value in enumerate(self.items(name)))

    def answers(self, name: str, value: Any) -> tuple[str, ...]:
        """Texts of an answer, written as a text, a list, or a list of lists of aliases. Raises DataError for none."""
        found = tuple(self.checked(name, text) for text in _flat(value))
        if not found:
            raise self.wrong(name, "a text or a list of texts")
        return found

    def answer(self, *names: str) -> str | None:
        """The first answer in the first of these fields that is there, as in `answers`; None where none is."""
        for name in names:
            if self.data.get(name) not in (None, "", []):
                return self.answers(name, self.data[name])[0]
        return None

    def checked(self, name: str, value: Any) -> str:
        """`value`, when it is a text that says something. Raises DataError."""
        if not isinstance(value, str) or not value.strip():
            fix = "; put it in quotes" if isinstance(value, int | float) else ""
            raise self.wrong(name, f"a text, {got(value)}{fix}")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise self.wrong(name, f"Unicode text, got half a character at {error.start}") from error
        return value


def read_json(file: Path) -> Any:
    """The content of a JSON file, with or without a byte order mark. Raises DataError."""
    try:
        return json.loads(content(file))
    except ValueError as error:
        raise DataError(f"{file}: cannot be read as JSON ({error})") from error


def listed(file: Path, values: Any, name: str = "") -> list[Record]:
    """The maps of a list as records; `name` is the field that holds the list. Raises DataError."""
    before = f"{name}: " if name else ""
    if not isinstance(values, list) or not values:
        raise DataError(f"{file}: {before}expected a JSON list of records")
    found = []
    for i, value in enumerate(values):
        record = Record(file, f"{before}record {i} (of {len(values)}, from 0)", i, value)
        found.append(_map(record))
    return found


def read_records(file: Path) -> list[Record]:
    """The records of a JSON list. Raises DataError."""
    return listed(file, read_json(file))


def read_any(file: Path) -> list[Record]:
    """The records of a JSON list, or of JSONL: a map in each line, blank lines left out. Raises DataError."""
    text = content(file)
    if text.lstrip().startswith("["):
        return read_records(file)
    found: list[Record] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError as error:
                raise DataError(
                    f"{file}: line {number}: cannot be read as JSON ({error}); expected a JSON list of records, "
                    "or one record in each line"
                ) from error
            found.append(_map(Record(file, f"line {number}", len(found), value)))
    if not found:
        raise DataError(f"{file}: expected records, the file is empty")
    return found


def content(file: Path) -> str:
    """The text of a file, with or without a byte order mark. Raises DataError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as UTF-8 text ({error})") from error


def _map(record: Record) -> Record:
    if not isinstance(record.data, dict):
        raise record.wrong("(all)", f"a map, {got(record.data)}")
    return record


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for child in value:
            yield from _flat(child)
    elif value is not None:
        yield value


def got(value: Any) -> str:
    """What is there, for an error."""
    return f"got {value!r}"[:60]
