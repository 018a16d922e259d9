"""Known facts of ROME: a prompt that names a subject, and the attribute that GPT-2 XL gives to it."""

from __future__ import annotations

from pathlib import Path

from ....canonical import place
from ....records import Record, listed, read_json
from ..items import Question


def known_facts(file: Path) -> list[Question]:
    """Facts whose prompts differ only in the subject stand together, the groups in an order that looks random.

    Raises DataError.
    """
    found = [_question(record) for record in listed(file, read_json(file))]
    return sorted(found, key=lambda q: (place("group", q.group), q.group, place("fact", q.id)))


def _question(record: Record) -> Question:
    prompt, subject = record.text("prompt"), record.text("subject")
    if subject not in prompt:
        raise record.unlike("subject", f"a part of the prompt {prompt!r}")
    number = record.data.get("known_id")
    if not isinstance(number, int):
        raise record.unlike("known_id", "a number")
    relation = record.text("relation_id")
    return Question(
        id=f"known-{number}",
        clean=prompt,
        answers=(record.text("attribute"),),
        # Not the record's template: four prompts in ten go on where it ends, each in its own way.
        group=f"{relation}: {prompt.replace(subject, '{}')}",
        subject=subject,
        relation=relation,
    )
