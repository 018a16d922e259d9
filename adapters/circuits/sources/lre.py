"""Relation files of the LRE data set: a name, templates in which `{}` is the subject, and samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ....canonical import place
from ....errors import DataError, unknown
from ....records import Record, listed, read_json
from ..items import Question

if TYPE_CHECKING:
    from .params import Lre

FIELDS = {"zero_shot": "prompt_templates_zs", "few_shot": "prompt_templates"}


def relation_questions(spec: Lre, folder: Path) -> Iterator[Question]:
    """Relation by relation; in each in an order that looks random, so that the first so many are a fair sample.

    A subject with several objects (an adjective with two antonyms) is one question with several right answers. Raises
    DataError.
    """
    files = {file.stem: file for file in sorted(folder.rglob("*.json"))}
    if not files:
        raise DataError(f"{folder}: holds no relation files (*.json)")
    if missing := [name for name in spec.relations if name not in files]:
        raise DataError(f"{folder}: {unknown('relation', missing[0], files)}")
    for name in spec.relations or files:
        yield from _relation(spec, name, files[name])


def _relation(spec: Lre, name: str, file: Path) -> Iterator[Question]:
    content = read_json(file)
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected a relation, a map with templates and samples")
    whole = Record(file, "relation", 0, content)
    template = _template(spec, whole)
    properties = content.get("properties")
    kind = properties.get("relation_type") if isinstance(properties, dict) else None
    objects: dict[str, dict[str, None]] = {}
    for record in listed(file, content.get("samples"), "samples"):
        objects.setdefault(record.text("subject"), {})[record.text("object")] = None
    for subject in sorted(objects, key=lambda subject: place(name, subject)):
        yield Question(
            id=f"{name}:{subject}",
            clean=template.replace("{}", subject),
            answers=tuple(objects[subject]),
            group=name,
            subject=subject,
            relation=name,
            attributes={"kind": kind} if isinstance(kind, str) else {},
        )


def _template(spec: Lre, relation: Record) -> str:
    field = FIELDS[spec.templates]
    templates = relation.data.get(field)
    if not isinstance(templates, list) or not all(isinstance(t, str) and "{}" in t for t in templates):
        raise relation.unlike(field, "a list of texts with {} for the subject")
    if spec.template >= len(templates):
        raise relation.unlike(field, f"at least {spec.template + 1} templates, as `template: {spec.template}` asks for")
    found: str = templates[spec.template]
    return found
