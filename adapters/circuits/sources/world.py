"""Facts of a knowledge world (adapters/worlds/knowledge) as questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ....canonical import place
from ....errors import DataError, unknown
from ...worlds.knowledge.world import World
from ..items import Question

if TYPE_CHECKING:
    from .params import WorldRelations


def world_questions(spec: WorldRelations, world: World) -> Iterator[Question]:
    """Relation by relation; in each in an order that looks random, so that the first so many are a fair sample.

    Subjects that were not trained in this template are left out. Raises DataError for a relation or template that is
    not there.
    """
    relations = world.language.relations
    for name in spec.relations or relations:
        if name not in relations:
            raise DataError(unknown(f"relation of the world {spec.world}", name, relations))
        if spec.template >= len(relations[name].templates):
            count = len(relations[name].templates)
            raise DataError(f"relation {name!r} has {count} templates; `template` must be below {count}")
        trained = (s for s in world.facts[name] if spec.template in world.trained_templates(name, s))
        for subject in sorted(trained, key=lambda subject: place(name, subject))[: spec.per_relation]:
            yield Question(
                id=f"{name}:{subject}",
                clean=world.prompt(name, subject, spec.template),
                answers=(world.facts[name][subject],),
                group=name,
                subject=subject,
                relation=name,
            )
