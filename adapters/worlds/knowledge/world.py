"""The knowledge world as a value: who there is, what is true, and what no training document says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .language import Composition, Language

FORMAT = 1
"""Raised when world.json changes its layout."""


@dataclass(frozen=True)
class HeldOut:
    """What is kept out of every training document."""

    templates: frozenset[tuple[str, str, int]]
    """(relation, subject, template index); the first template of a relation is never held out."""
    aliases: frozenset[tuple[str, str]]
    """(relation, nickname): the fact is trained under the name only."""
    hops: frozenset[tuple[str, str]]
    """(composition, subject): both facts are trained, their composition is not."""


@dataclass(frozen=True)
class World:
    """Entities, functional facts, nicknames, and what is held out of training."""

    seed: int
    language: Language
    entities: Mapping[str, tuple[str, ...]]
    """Names by type. A name is one to three words."""
    facts: Mapping[str, Mapping[str, str]]
    """relation -> subject -> object; every subject of the relation's type has exactly one object."""
    aliases: Mapping[str, str]
    """name -> nickname, for half of the people."""
    held_out: HeldOut

    def objects(self, relation: str) -> tuple[str, ...]:
        """Everything that could be the object of the relation: the candidates for a counterfactual."""
        return self.entities[self.language.relations[relation].object]

    def prompt(self, relation: str, subject: str, template: int = 0) -> str:
        """A trained sentence about the subject (a name or a nickname) that stops before the object."""
        return self.language.relations[relation].templates[template].format(s=subject)

    def trained_templates(self, relation: str, subject: str) -> tuple[int, ...]:
        """Indices of the templates in which the fact is trained under the subject's name."""
        count = len(self.language.relations[relation].templates)
        return tuple(i for i in range(count) if (relation, subject, i) not in self.held_out.templates)

    def hop(self, composition: Composition, subject: str) -> tuple[str, str]:
        """(bridge, answer) of a two-hop question."""
        bridge = self.facts[composition.first][subject]
        return bridge, self.facts[composition.second][bridge]

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads; two equal worlds give the same text."""
        held = {name: sorted(map(list, getattr(self.held_out, name))) for name in ("templates", "aliases", "hops")}
        return {
            "format": FORMAT,
            "seed": self.seed,
            "language": self.language.to_json(),
            "entities": {kind: list(names) for kind, names in self.entities.items()},
            "facts": {relation: dict(pairs) for relation, pairs in self.facts.items()},
            "aliases": dict(self.aliases),
            "held_out": held,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> World:
        """Raises ValueError for another format, KeyError or TypeError for data that `to_json` did not write."""
        if data.get("format") != FORMAT:
            raise ValueError(f"world of format {data.get('format')!r}; this version reads format {FORMAT}")
        held = data["held_out"]
        return cls(
            seed=data["seed"],
            language=Language.from_json(data["language"]),
            entities={kind: tuple(names) for kind, names in data["entities"].items()},
            facts={relation: dict(pairs) for relation, pairs in data["facts"].items()},
            aliases=dict(data["aliases"]),
            held_out=HeldOut(
                templates=frozenset((r, s, i) for r, s, i in held["templates"]),
                aliases=frozenset((r, a) for r, a in held["aliases"]),
                hops=frozenset((c, s) for c, s in held["hops"]),
            ),
        )

    def save(self, file: Path) -> None:
        """Write it as one line of JSON."""
        file.write_text(json.dumps(self.to_json(), separators=(",", ":")) + "\n", encoding="utf-8")


def load_world(file: Path) -> World:
    """Read what `World.save` wrote. Raises OSError, ValueError, KeyError or TypeError."""
    return World.from_json(json.loads(file.read_text(encoding="utf-8")))
