"""What a compiled model (adapters/worlds/compiled) can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...worlds.compiled.facts import RELATIONS, Facts
from ..items import Question

if TYPE_CHECKING:
    from .params import CompiledQuestions


def compiled_questions(spec: CompiledQuestions) -> Iterator[Question]:
    """The model's own pairs, as text."""
    facts = Facts(spec, spec.seed)
    for number, (clean, corrupt) in enumerate(facts.counterparts):
        yield Question(
            id=f"{number:02d}",
            clean=facts.text(clean),
            answers=(facts.attribute(clean),),
            corrupt=facts.text(corrupt),
            wrongs=(facts.attribute(corrupt),),
            subject=facts.subjects[clean.subject],
            relation=RELATIONS[clean.relation],
        )
