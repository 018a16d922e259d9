"""Questions under notes: `note : <a fact that is not so> . <question>`, to be answered by what the notes say.

What the notes say overrides the world, hop by hop; what they do not speak of stays as it is.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from .probes import Probe, hop_probe
from .world import World

KINDS: Mapping[str, float] = {
    "same": 0.3,
    "other_subject": 0.24,
    "other_relation": 0.14,
    "alias": 0.05,
    "two_hop": 0.19,
    "chain_of_thought": 0.08,
}
"""What the question is about, and the share of it in training: the noted fact in other words, another subject of the
same relation, another relation of the same subject, the subject under its nickname, a composition through the noted
fact, the same with the steps written down."""

Fact = tuple[str, str]
"""(relation, subject)."""
Said = Mapping[Fact, str]
"""What the notes say: the objects that they give to facts, in their order."""


@dataclass(frozen=True)
class Noted:
    """Notes and a question; the prompt is `f"{notes} {question.prompt}"`."""

    kind: str
    notes: str
    question: Probe

    @property
    def prompt(self) -> str:
        """All that a model reads."""
        return f"{self.notes} {self.question.prompt}"


class NoteMaker:
    """Draws questions under notes, either of what training may show or of what is held out of it."""

    def __init__(self, world: World, held_out: bool = False) -> None:
        held = world.held_out
        self._world, self._held_out = world, held_out
        self._facts: list[Fact] = [(r, s) for r, pairs in world.facts.items() for s in pairs]
        named = [(r, s, world.aliases[s]) for r, s in self._facts if s in world.aliases]
        self._aliases = [(r, s) for r, s, alias in named if ((r, alias) in held.aliases) == held_out]
        self._hops = [
            (c, s)
            for c in world.language.compositions.values()
            for s in world.facts[c.first]
            if ((c.name, s) in held.hops) == held_out
        ]

    def draw(self, rng: random.Random, kind: str, count: int = 1) -> Noted:
        """One question under `count` notes; see `KINDS`. Unless it is about another subject or relation than the note,
        its answer is not what the world says (a composition may by chance end where it did)."""
        ask = self._hop if kind in ("two_hop", "chain_of_thought") else self._direct
        question, said = ask(rng, kind, count)
        notes = " ".join(f"note : {self._state(rng, *fact)} {noted} ." for fact, noted in said.items())
        return Noted(kind, notes, question)

    def _hop(self, rng: random.Random, kind: str, count: int) -> tuple[Probe, Said]:
        composition, subject = rng.choice(self._hops)
        first = composition.first, subject
        second = composition.second, self._world.facts[composition.first][subject]
        said = self._notes(rng, rng.choice([first, second]), count)
        bridge = self._look_up(said, *first)
        answer = self._look_up(said, composition.second, bridge)
        index = rng.randrange(len(self._world.language.hop_templates(composition)))
        thinking = kind == "chain_of_thought"
        return hop_probe(self._world, composition, subject, bridge, answer, index, thinking), said

    def _direct(self, rng: random.Random, kind: str, count: int) -> tuple[Probe, Said]:
        world, relations = self._world, self._world.language.relations
        relation, subject = rng.choice(self._aliases if kind == "alias" else self._facts)
        said = self._notes(rng, (relation, subject), count)
        if kind == "other_subject":
            subject = rng.choice([s for s in world.facts[relation] if (relation, s) not in said])
        elif kind == "other_relation":
            of_type = [r.name for r in relations.values() if r.subject == relations[relation].subject]
            # A city has two relations: three notes may speak of both.
            relation = rng.choice([r for r in of_type if (r, subject) not in said] or [relation])
        name = world.aliases[subject] if kind == "alias" else subject
        index = rng.choice(self._templates(relation, subject))
        prompt, answer = world.prompt(relation, name, index), self._look_up(said, relation, subject)
        return Probe(prompt, answer, name, relation, index), said

    def _notes(self, rng: random.Random, fact: Fact, count: int) -> Said:
        """Counterfactual objects of `fact` and of others, half of which share its relation; in random order."""
        facts = {fact}
        while len(facts) < count:
            subjects = list(self._world.facts[fact[0]])
            facts.add((fact[0], rng.choice(subjects)) if rng.random() < 0.5 else rng.choice(self._facts))
        ordered = rng.sample(sorted(facts), len(facts))
        return {(r, s): self._other(rng, r, s) for r, s in ordered}

    def _other(self, rng: random.Random, relation: str, subject: str) -> str:
        """An object of the relation that the subject does not have."""
        while True:
            candidate = rng.choice(self._world.objects(relation))
            if candidate not in (subject, self._world.facts[relation][subject]):
                return candidate

    def _state(self, rng: random.Random, relation: str, subject: str) -> str:
        return self._world.prompt(relation, subject, rng.choice(self._world.trained_templates(relation, subject)))

    def _templates(self, relation: str, subject: str) -> list[int]:
        trained = self._world.trained_templates(relation, subject)
        count = len(self._world.language.relations[relation].templates)
        return [i for i in range(count) if (i in trained) != self._held_out]

    def _look_up(self, said: Said, relation: str, subject: str) -> str:
        return said.get((relation, subject)) or self._world.facts[relation][subject]
