"""Pairs of prompts from a file.

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
from pathlib import Path
from typing import Any

from ....errors import DataError, unknown
from ....records import Record, content, listed, read_any
from ..items import Answer, Question, Text

FIELDS = frozenset(
    {"id", "subject", "subject_pos", "relation", "clean", "clean_ids", "corrupt", "corrupt_ids"}
    | {name + ending for name in ("answer", "wrong") for ending in ("", "_id", "_ids")}
)
"""What a pair may say; `subject_pos` of files that have it is not needed."""


def read_questions(file: Path, examples: str | None) -> list[Question]:
    """All pairs of a file, or of one of its lists. Raises DataError naming file, record, field and what to do."""
    found: dict[str, Question] = {}
    for index, record in enumerate(_chosen(file, examples)):
        question = _question(record, f"{examples or 'pair'}-{index}")
        if question.id in found:
            raise record.unlike("id", "an id of its own, another record has it")
        found[question.id] = question
    return list(found.values())


def _chosen(file: Path, examples: str | None) -> list[Record]:
    try:
        value = json.loads(content(file))
    except ValueError:
        value = None  # JSONL, or an error that its reader tells
    named = value.get("examples") if isinstance(value, dict) else None
    if named is None:
        if examples is not None:
            raise DataError(f"{file}: holds no named examples; leave out {examples!r}")
        return read_any(file)
    if not isinstance(named, dict) or not named:
        raise DataError(f"{file}: examples: expected a map of lists by name")
    if examples is None and len(named) > 1:
        raise DataError(f"{file}: holds several examples; choose one of {', '.join(sorted(named))}")
    name = next(iter(named)) if examples is None else examples
    if name not in named:
        raise DataError(f"{file}: {unknown('examples', name, named)}")
    return listed(file, named[name], f"examples.{name}")


def _question(record: Record, number: str) -> Question:
    if strange := [name for name in record.data if name not in FIELDS]:
        raise DataError(f"{record.file}: {record.place}: {unknown('field', strange[0], FIELDS)}")
    clean, corrupt = _prompt(record, "clean"), _prompt(record, "corrupt")
    if isinstance(clean, str) != isinstance(corrupt, str):
        raise record.unlike("corrupt", f"text if clean is text, token ids if it is token ids ({clean!r:.40})")
    if clean == corrupt:
        raise record.unlike("corrupt", "another prompt than clean; exchange in it what the answer depends on")
    return Question(
        id=str(record.data["id"]) if record.data.get("id") not in (None, "") else number,
        clean=clean,
        answers=_answers(record, "answer", texts=isinstance(clean, str)),
        corrupt=corrupt,
        wrongs=_answers(record, "wrong", texts=isinstance(clean, str)),
        group=record.optional("relation") or "",
        subject=record.optional("subject") or "",
        relation=record.optional("relation") or "",
        place=f"{record.file}: {record.place}",
    )


def _prompt(record: Record, field: str) -> Text:
    for name in (f"{field}_ids", field):
        value = record.data.get(name)
        if isinstance(value, list) and value and all(map(_is_id, value)):
            return tuple(value)
        if value is not None and (name != field or not isinstance(value, str)):
            raise record.unlike(name, "a list of token ids" if name != field else "a text, or a list of token ids")
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
            raise record.unlike(name, f"token ids, since the prompts are token ids; give {field}_id")
        if name != field or not values or not all(isinstance(v, str) and v.strip() for v in values):
            raise record.unlike(name, "a text, a token id, or a list of them")
        return tuple(values)
    raise record.unlike(field, "a text, a token id, or a list of them")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
