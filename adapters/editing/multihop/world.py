"""Chains of two facts of a knowledge world: the first one is changed, the second one, or both.

Nothing is drawn: order, new objects and questions follow from `canonical.place`. A fact has one new object, whatever
case changes it, so that cases that are edited together do not contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from ....canonical import ranked
from ...lm.requests import EditRequest
from ...worlds.knowledge.language import Composition
from ...worlds.knowledge.world import World
from ..sources.world import WorldSplit, subjects
from ..sources.world_probes import fact_id
from .cases import ChainCase, Hop

QUESTIONS = 3
"""Of a case, as MQuAKE has."""
_CHANGES = ((True, True), (True, False), (False, True))
"""Whether the first and whether the second fact of a chain is changed; cases take turns."""


def chain_cases(world: World, split: WorldSplit) -> list[ChainCase]:
    """All cases of a split: one for each subject and first relation. No edited subject is in the other split."""
    return list(_Chains(world, split).cases())


class _Chains:
    def __init__(self, world: World, split: WorldSplit) -> None:
        self._world, self._relations = world, world.language.relations
        self._own = {kind: set(subjects(world, kind, split)) for kind in {r.subject for r in self._relations.values()}}
        self._new = {name: self._objects(name) for name, r in self._relations.items() if not r.symmetric}

    def cases(self) -> Iterator[ChainCase]:
        turns = cycle(_CHANGES)
        heads = {
            f"{name}({s})": (name, s)
            for name in {c.first for c in self._world.language.compositions.values()} & self._new.keys()
            for s in self._own[self._relations[name].subject]
        }
        for head in ranked(heads, "chain"):
            first, subject = heads[head]
            found = self._case(first, subject, next(turns))
            if found:
                yield found

    def _case(self, first: str, subject: str, changed: tuple[bool, bool]) -> ChainCase | None:
        """The first composition, and the changes nearest to `changed`, that give another answer; None where none do."""
        compositions = {c.name: c for c in self._world.language.compositions.values() if c.first == first}
        for name in ranked(compositions, "composition", first, subject):
            for one, two in (changed, *(c for c in _CHANGES if c != changed)):
                if found := self._made(compositions[name], subject, one, two):
                    return found
        return None

    def _made(self, composition: Composition, subject: str, one: bool, two: bool) -> ChainCase | None:
        first, second, facts = composition.first, composition.second, self._world.facts
        before = facts[first][subject]
        bridge = self._new[first].get(subject) if one else before
        if bridge is None or (two and (second not in self._new or bridge not in self._new[second])):
            return None
        old, new = facts[second][before], self._new[second][bridge] if two else facts[second][bridge]
        if old == new:
            return None
        edits = [(first, subject, bridge)] * one + [(second, bridge, new)] * two
        case_id = f"{composition.name}({subject})"
        templates = ranked(self._world.language.hop_templates(composition), "multi_hop", case_id)[:QUESTIONS]
        return ChainCase(
            case_id,
            tuple(self._request(*edit) for edit in edits),
            tuple(template.format(s=subject) for template in templates),
            (new,),
            (old,),
            (self._hop(first, subject, bridge), self._hop(second, bridge, new)),
            (self._hop(first, subject, before), self._hop(second, before, old)),
        )

    def _objects(self, relation: str) -> dict[str, str]:
        """What each subject of the split has after an edit. A new bridge is of the split too, so that it can be edited;
        where no two subjects share an object, none gets one that another has or gets."""
        kind, facts = self._relations[relation], self._world.facts[relation]
        used = set(facts.values()) if kind.distinct else set()
        found = {}
        for subject in ranked(self._own[kind.subject], "chain", relation):
            among = self._own.get(kind.object)
            objects = [o for o in self._world.objects(relation) if among is None or o in among]
            choice = ranked(objects, "chain", relation, subject)
            new = next((o for o in choice if o not in (facts[subject], subject) and o not in used), None)
            if new is not None:
                found[subject] = new
                used |= {new} if kind.distinct else set()
        return found

    def _request(self, relation: str, subject: str, new: str) -> EditRequest:
        fact = fact_id(relation, subject)
        return EditRequest(
            id=fact,
            prompt=self._world.prompt(relation, subject),
            subject=subject,
            target_new=new,
            target_true=self._world.facts[relation][subject],
            relation=relation,
            fact=fact,
        )

    def _hop(self, relation: str, subject: str, answer: str) -> Hop:
        prompt = self._world.prompt(relation, subject)
        return Hop(prompt, prompt, (answer,), fact_id(relation, subject))
