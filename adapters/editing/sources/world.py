"""Edits of a knowledge world (adapters/worlds/knowledge): which facts become what, and which are watched beside them.

Nothing here is drawn: the order, the new objects and the probes follow from `canonical.place`, so that they are the
same on every machine and stay the same when a world grows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import ceil
from typing import Literal

from ....canonical import ranked
from ...lm.requests import EditRequest
from ...worlds.knowledge.world import World
from ..cases import EditCase, Probe
from .splits import VALIDATION_SHARE
from .training import requests_of
from .world_probes import Change, Prober, fact_id

WorldSplit = Literal["validation", "test", "tuning", "learning"]

LEARNING: dict[str, WorldSplit] = {"test": "validation", "tuning": "learning"}
"""Split that is scored, and the one that is learned from before."""

MIX = {"works_for": 28, "born_in": 28, "plays": 12, "occupation": 10, "spouse": 8, "hq_in": 8, "founder": 6}
"""Relations that are edited, and their shares in percent, as long as each has subjects left."""
CONTROLS = 100

DIGESTS = {
    "atlas": "ebf38d446a99ec6d28e9adf9b4f64b5ab818089d432ab7eeaf582836281eb3cf",
    "atlas-small": "ebf38d446a99ec6d28e9adf9b4f64b5ab818089d432ab7eeaf582836281eb3cf",
}
"""SHA-256 of the world.json of each shipped world. When one changes, so do the edits: raise `WorldEdits.version`."""


def world_training(world: World, scored: WorldSplit) -> list[EditRequest]:
    """What may be learned from when a split is scored: edits of other subjects, in all their sentences.

    The facts that they keep are of subjects of theirs too, so that no fact of a scored subject is seen.
    """
    split = LEARNING.get(scored)
    if split is None:
        return []
    own = {name for kind in _kinds(world) for name in subjects(world, kind, split)}
    return [request for case in world_cases(world, split, own) for request in requests_of(case)]


def world_cases(world: World, split: WorldSplit, neighbours: Collection[str] | None = None) -> list[EditCase]:
    """All edits of a split: one for each subject and relation, the relations mixed alike from the first edit on.

    `neighbours`: whose facts are watched beside them; anybody's where nothing is said.
    """
    changes = list(_changes(world, split))
    prober = Prober(world, changes, neighbours)
    return [
        EditCase(
            EditRequest(
                id=change.fact,
                prompt=world.prompt(change.relation, change.subject),
                subject=change.subject,
                target_new=change.new,
                target_true=change.old,
                relation=change.relation,
                fact=change.fact,
            ),
            prober.rephrases(change),
            prober.locality(change),
            prober.portability(change),
        )
        for change in changes
    ]


def world_controls(world: World, split: WorldSplit) -> tuple[Probe, ...]:
    """100 trained facts that no edit of the split changes: of the other split's subjects, of cities and countries.

    Symmetric relations are left out, where an edit changes a fact of its new object too.
    """
    relations = world.language.relations
    edited = {kind: set(subjects(world, kind, split)) for kind in _kinds(world)}
    facts = {
        fact_id(relation.name, subject): Probe(
            world.prompt(relation.name, subject), (answer,), frozenset({fact_id(relation.name, subject)})
        )
        for relation in relations.values()
        for subject, answer in world.facts[relation.name].items()
        if not relation.symmetric and subject not in edited.get(relation.subject, ())
    }
    return tuple(facts[fact] for fact in ranked(facts, "control")[:CONTROLS])


def subjects(world: World, kind: str, split: WorldSplit) -> list[str]:
    """The entities of a type that a split edits. A fifth, rounded up, of each type is for validation; the first half
    of it, rounded down, is `learning`, the rest `tuning`."""
    names = ranked(world.entities[kind], "subject")
    count = ceil(VALIDATION_SHARE * len(names))
    parts = {
        "validation": (0, count),
        "test": (count, None),
        "learning": (0, count // 2),
        "tuning": (count // 2, count),
    }
    return names[slice(*parts[split])]


def _kinds(world: World) -> set[str]:
    """The types of entities that are edited."""
    return {world.language.relations[name].subject for name in MIX}


def _ordered(world: World, split: WorldSplit) -> list[tuple[str, str]]:
    """(relation, subject) of every edit: the i-th one of a relation has its turn at i / share."""
    turns = []
    for relation, share in MIX.items():
        names = ranked(subjects(world, world.language.relations[relation].subject, split), "edit", relation)
        turns += [((i + 0.5) / share, relation, subject) for i, subject in enumerate(names)]
    return [(relation, subject) for _, relation, subject in sorted(turns)]


def _changes(world: World, split: WorldSplit) -> Iterator[Change]:
    """Each edit with its new object: of the same type, neither the old one nor the subject.

    Where a subject can be asked for by the object, no two edits share an object, so that the answer is one.
    """
    taken = {
        name: set(world.facts[name].values()) if relation.distinct else set()
        for name, relation in world.language.relations.items()
        if relation.distinct or relation.symmetric
    }
    for relation, subject in _ordered(world, split):
        old, used = world.facts[relation][subject], taken.get(relation, set())
        objects = ranked(world.objects(relation), "new", relation, subject)
        new = next((o for o in objects if o not in (old, subject) and o not in used), None)
        if new is not None:
            used.add(new)
            yield Change(relation, subject, old, new)
