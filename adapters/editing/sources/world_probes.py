"""Probes of an edit of a knowledge world: what must change with it, and what must not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ....canonical import ranked
from ...worlds.knowledge.language import Composition
from ...worlds.knowledge.world import World
from ..cases import Fact, Probe

NEIGHBOURS, NAMESAKES = 8, 4
"""Most probes of the kinds `neighbourhood` and `same_last_token`."""
TEMPLATES = 2
"""Sentences in which a fact of the same subject, an alias or a two-hop question is asked for."""

Probes = dict[str, tuple[Probe, ...]]


@dataclass(frozen=True)
class Change:
    """One fact made another."""

    relation: str
    subject: str
    old: str
    new: str

    @property
    def fact(self) -> str:
        """See `fact_id`."""
        return fact_id(self.relation, self.subject)


def fact_id(relation: str, subject: str) -> str:
    """`works_for(Ada Lovelace)`: what requests and probes call a fact."""
    return f"{relation}({subject})"


class Prober:
    """Asks about one change, and knows all others that may be made beside it.

    `neighbours`: other subjects that may be asked about; all where nothing is said.
    """

    def __init__(self, world: World, changes: Sequence[Change], neighbours: Collection[str] | None = None) -> None:
        self._world, self._relations, self._neighbours = world, world.language.relations, neighbours
        self._touched: defaultdict[str, set[str]] = defaultdict(set)
        for change in changes:
            # Whom A marries is a fact of A; who no longer is, or now is, married to A is not what it was either.
            if self._relations[change.relation].symmetric:
                for other in (change.old, change.new):
                    self._touched[fact_id(change.relation, other)].add(change.fact)

    def rephrases(self, change: Change) -> tuple[str, ...]:
        """The sentences that the model was never trained on with this subject."""
        count = len(self._relations[change.relation].templates)
        trained = self._world.trained_templates(change.relation, change.subject)
        return tuple(self._world.prompt(change.relation, change.subject, i) for i in range(count) if i not in trained)

    def locality(self, change: Change) -> Probes:
        """By kind, what the edit must leave alone; kinds without probes are left out."""
        relation, world = self._relations[change.relation], self._world
        involved = {change.subject, *((change.old, change.new) if relation.symmetric else ())}
        allowed = world.facts[relation.name] if self._neighbours is None else self._neighbours
        near = (s for s in world.facts[relation.name] if s not in involved and s in allowed)
        others = ranked(near, "neighbour", change.fact)
        namesakes = [s for s in others if s.split()[-1] == change.subject.split()[-1]]
        strangers = [s for s in others if s not in namesakes]
        siblings = [r.name for r in self._relations.values() if r.subject == relation.subject and r is not relation]
        return _filled(
            neighbourhood=[self._asked(relation.name, s) for s in strangers[:NEIGHBOURS]],
            same_last_token=[self._asked(relation.name, s) for s in namesakes[:NAMESAKES]],
            same_subject=[
                self._asked(sibling, change.subject, template)
                for sibling in siblings
                for template in world.trained_templates(sibling, change.subject)[:TEMPLATES]
            ],
        )

    def portability(self, change: Change) -> Probes:
        """By kind, what follows from the edit; kinds without probes are left out."""
        compositions = self._world.language.compositions.values()
        hops = [list(self._two_hop(change, c)) for c in compositions if self._leads_elsewhere(change, c)]
        return _filled(
            alias=list(self._alias(change)),
            two_hop=[probe for asked in hops for probe in asked],
            inverse=list(self._inverse(change)),
            chain_of_thought=[_thinking(asked[0]) for asked in hops],
        )

    def _rests(self, relation: str, subject: str) -> frozenset[str]:
        """The facts that decide this one: itself, and in a symmetric relation those of the other side."""
        fact = fact_id(relation, subject)
        return frozenset({fact} | self._touched[fact])

    def _asked(self, relation: str, subject: str, template: int = 0) -> Probe:
        prompt, answer = self._world.prompt(relation, subject, template), self._world.facts[relation][subject]
        return Probe(prompt, (answer,), self._rests(relation, subject))

    def _leads_elsewhere(self, change: Change, composition: Composition) -> bool:
        then = self._world.facts[composition.second]
        return composition.first == change.relation and then[change.old] != then[change.new]

    def _two_hop(self, change: Change, composition: Composition) -> Iterator[Probe]:
        answer = self._world.facts[composition.second][change.new]
        rests = self._rests(composition.second, change.new)
        needs = (Fact(self._world.prompt(composition.second, change.new), answer),)
        templates = self._world.language.hop_templates(composition)
        for template in ranked(templates, "two_hop", change.fact, composition.name)[:TEMPLATES]:
            yield Probe(template.format(s=change.subject), (answer,), rests, needs)

    def _alias(self, change: Change) -> Iterator[Probe]:
        alias = self._world.aliases.get(change.subject)
        if alias is not None:
            for template in self._world.trained_templates(change.relation, change.subject)[:TEMPLATES]:
                prompt = self._world.prompt(change.relation, alias, template)
                # Only a model that knew the old answer under this name knows whose name it is.
                yield Probe(prompt, (change.new,), needs=(Fact(prompt, change.old),))

    def _inverse(self, change: Change) -> Iterator[Probe]:
        relation = self._relations[change.relation]
        for template in relation.inverse:
            yield Probe(template.format(o=change.new), (change.subject,))
        if relation.symmetric:
            prompt = self._world.prompt(relation.name, change.new)
            yield Probe(prompt, (change.subject,), self._rests(relation.name, change.new))


def _thinking(hop: Probe) -> Probe:
    return Probe(f"question : {hop.prompt} ? answer :", hop.answers, hop.facts, hop.needs, generated=True)


def _filled(**kinds: list[Probe]) -> Probes:
    return {kind: tuple(probes) for kind, probes in kinds.items() if probes}
