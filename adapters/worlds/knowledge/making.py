"""Make a knowledge world from a seed.

First and last names come from small shared pools, so that the last word of a name does not tell who is meant; a part
of the cities and companies has two words. Worlds that weights were trained on are shipped as world.json: nothing
depends on the generator below staying as it is.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from .language import Language, shipped_language
from .world import HeldOut, World

PEOPLE, FIRST_NAMES, LAST_NAMES = 70, 18, 24
CITIES, COMPANIES, COUNTRIES = 20, 16, 8
TEMPLATES_HELD_OUT = 2
"""Of the templates of a relation, for each subject."""
HOPS_HELD_OUT = ALIASES_HELD_OUT = 0.25

_ONSETS = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "kr", "st", "tr"]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ei"]
_CODAS = ["n", "r", "l", "s", "x", "m", ""]


class _Names:
    """Words that were not used before."""

    def __init__(self, rng: random.Random, used: set[str]) -> None:
        self._rng, self._used = rng, used

    def __call__(self, syllables: int, suffix: str = "") -> str:
        pick = self._rng.choice
        while True:
            word = "".join(pick(_ONSETS) + pick(_VOWELS) for _ in range(syllables)) + pick(_CODAS) + suffix
            if word not in self._used:
                self._used.add(word)
                return word


def make_world(seed: int = 0, language: Language | None = None) -> World:
    """A world of 70 people and 532 facts; the same seed gives the same world."""
    language = language or shipped_language()
    rng = random.Random(seed)
    entities = _entities(rng, language)
    facts = _facts(rng, language, entities)
    names = _Names(rng, {w.lower() for kind in entities.values() for name in kind for w in name.split()})
    nicknamed = sorted(rng.sample(entities["person"], PEOPLE // 2))
    aliases = {person: f"the {names(2).capitalize()}" for person in nicknamed}
    return World(seed, language, entities, facts, aliases, _held_out(rng, language, facts, aliases))


def _entities(rng: random.Random, language: Language) -> dict[str, tuple[str, ...]]:
    templates = [t for r in language.relations.values() for t in (*r.templates, *r.unseen, *r.phrases, *r.inverse)]
    words = [w for group in (language.words, language.filler) for part in group.values() for w in part]
    name = _Names(rng, {w for text in (*templates, *words) for w in text.split()})
    entities = dict(language.words)
    entities["country"] = tuple(name(2, "ia").capitalize() for _ in range(COUNTRIES))
    entities["language"] = tuple(name(1, "ish").capitalize() for _ in range(COUNTRIES))
    entities["currency"] = tuple(name(2) for _ in range(COUNTRIES))
    entities["city"] = tuple(
        (rng.choice(["Port ", "New ", "San "]) if rng.random() < 0.35 else "") + name(2).capitalize()
        for _ in range(CITIES)
    )
    entities["company"] = tuple(
        name(2).capitalize() + (rng.choice([" Labs", " Works", " Group"]) if rng.random() < 0.6 else "")
        for _ in range(COMPANIES)
    )
    first = [name(2).capitalize() for _ in range(FIRST_NAMES)]
    last = [name(2, rng.choice(["son", "ov", "ez"])).capitalize() for _ in range(LAST_NAMES)]
    entities["person"] = tuple(rng.sample([f"{f} {g}" for f in first for g in last], PEOPLE))
    return entities


def _facts(
    rng: random.Random, language: Language, entities: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, str]]:
    facts: dict[str, dict[str, str]] = {name: {} for name in language.relations}
    for relation in language.relations.values():
        subjects, objects = entities[relation.subject], entities[relation.object]
        chosen = facts[relation.name]
        if relation.symmetric:
            shuffled = rng.sample(subjects, len(subjects))
            pairs = dict(zip(shuffled[::2], shuffled[1::2], strict=True))
            chosen.update(pairs | {b: a for a, b in pairs.items()})
        elif relation.distinct:
            chosen.update(zip(subjects, rng.sample(objects, len(subjects)), strict=True))
        else:
            # What another relation implied before stays.
            chosen.update({s: rng.choice(objects) for s in subjects if s not in chosen})
        if relation.implies:
            facts[relation.implies].update({o: s for s, o in chosen.items()})
    return facts


def _held_out(
    rng: random.Random, language: Language, facts: Mapping[str, Mapping[str, str]], aliases: Mapping[str, str]
) -> HeldOut:
    templates = frozenset(
        (relation.name, subject, index)
        for relation in language.relations.values()
        for subject in facts[relation.name]
        for index in rng.sample(range(1, len(relation.templates)), TEMPLATES_HELD_OUT)
    )
    of_people = [r.name for r in language.relations.values() if r.subject == "person"]
    pairs = [(relation, alias) for relation in of_people for alias in aliases.values()]
    hops: list[tuple[str, str]] = []
    for composition in language.compositions.values():
        subjects = list(facts[composition.first])
        hops += [(composition.name, s) for s in rng.sample(subjects, round(HOPS_HELD_OUT * len(subjects)))]
    return HeldOut(templates, frozenset(rng.sample(pairs, round(ALIASES_HELD_OUT * len(pairs)))), frozenset(hops))
