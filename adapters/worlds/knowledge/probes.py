"""Questions about the world with their answers, in pools: what was trained, and what was held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .language import Composition
from .world import World


@dataclass(frozen=True)
class Probe:
    """A prompt and what should follow it; joined by one space, the answer ends before ` .`"""

    prompt: str
    answer: str
    """The object, as a name; for a chain of thought what its last step ends with."""
    subject: str
    """As it stands in the prompt: a name, a nickname, or (inverse) the object of the relation."""
    relation: str
    """Name of the relation, or of the composition."""
    template: int
    """Index in the templates that the pool is about."""
    bridge: str = ""
    """The entity between the two hops."""
    thoughts: str = ""
    """What stands between prompt and answer in a chain of thought."""

    @property
    def target(self) -> str:
        """All that a model has to say: thoughts and answer."""
        return f"{self.thoughts} {self.answer}".lstrip()


def _facts(world: World, trained: bool) -> Iterator[Probe]:
    for relation in world.language.relations.values():
        for subject, answer in world.facts[relation.name].items():
            shown = world.trained_templates(relation.name, subject)
            for index in range(len(relation.templates)):
                if (index in shown) == trained:
                    prompt = world.prompt(relation.name, subject, index)
                    yield Probe(prompt, answer, subject, relation.name, index)


def _unseen(world: World) -> Iterator[Probe]:
    for relation in world.language.relations.values():
        for subject, answer in world.facts[relation.name].items():
            for index, template in enumerate(relation.unseen):
                yield Probe(template.format(s=subject), answer, subject, relation.name, index)


def _aliases(world: World, trained: bool) -> Iterator[Probe]:
    for relation in world.language.relations.values():
        for subject, answer in world.facts[relation.name].items():
            alias = world.aliases.get(subject)
            if alias and ((relation.name, alias) not in world.held_out.aliases) == trained:
                for index in range(len(relation.templates)):
                    prompt = world.prompt(relation.name, alias, index)
                    yield Probe(prompt, answer, alias, relation.name, index)


def _inverse(world: World) -> Iterator[Probe]:
    for relation in world.language.relations.values():
        for answer, subject in world.facts[relation.name].items():
            for index, template in enumerate(relation.inverse):
                yield Probe(template.format(o=subject), answer, subject, relation.name, index)


def _hops(world: World, trained: bool, thinking: bool) -> Iterator[Probe]:
    for composition in world.language.compositions.values():
        for subject in world.facts[composition.first]:
            if ((composition.name, subject) not in world.held_out.hops) == trained:
                bridge, answer = world.hop(composition, subject)
                for index in range(len(world.language.hop_templates(composition))):
                    yield hop_probe(world, composition, subject, bridge, answer, index, thinking)


def hop_probe(
    world: World, composition: Composition, subject: str, bridge: str, answer: str, template: int, thinking: bool
) -> Probe:
    """A two-hop question, with the steps to its answer when it is asked `thinking`."""
    prompt, thoughts = world.language.hop_templates(composition)[template].format(s=subject), ""
    if thinking:
        prompt = f"question : {prompt} ? answer :"
        first, second = world.prompt(composition.first, subject), world.prompt(composition.second, bridge)
        thoughts = f"{first} {bridge} ; {second}"
    return Probe(prompt, answer, subject, composition.name, template, bridge, thoughts)


POOLS: Mapping[str, Callable[[World], Iterator[Probe]]] = MappingProxyType(
    {
        "facts": lambda w: _facts(w, trained=True),
        "paraphrases": lambda w: _facts(w, trained=False),
        "unseen_templates": _unseen,
        "alias": lambda w: _aliases(w, trained=True),
        "alias_held_out": lambda w: _aliases(w, trained=False),
        "inverse": _inverse,
        "two_hop": lambda w: _hops(w, trained=True, thinking=False),
        "two_hop_held_out": lambda w: _hops(w, trained=False, thinking=False),
        "chain_of_thought": lambda w: _hops(w, trained=True, thinking=True),
        "chain_of_thought_held_out": lambda w: _hops(w, trained=False, thinking=True),
    }
)
"""What can be asked, by name; `*_held_out`, `paraphrases` and `unseen_templates` are in no training document."""

HELD_OUT = ("paraphrases", "unseen_templates", "alias_held_out", "two_hop_held_out", "chain_of_thought_held_out")
"""The pools that training never shows."""


def probes(world: World, pool: str) -> list[Probe]:
    """All probes of a pool, in a stable order. Raises KeyError for a pool that is not in `POOLS`."""
    return list(POOLS[pool](world))
