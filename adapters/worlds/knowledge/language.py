"""The sentences of the knowledge world, read from relations.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Relation:
    """A function from the entities of one type to those of another, and the sentences that state it.

    In a sentence, `{s}` stands for the subject and `{o}` for the object; what is asked for comes after its end.
    """

    name: str
    subject: str
    """Type of its subjects."""
    object: str
    """Type of its objects."""
    templates: tuple[str, ...]
    """Trained paraphrases; the first is the edit prompt."""
    unseen: tuple[str, ...]
    """Paraphrases that no training document has."""
    phrases: tuple[str, ...] = ()
    """Noun phrases for the object, such as `the employer of {s}`."""
    inverse: tuple[str, ...] = ()
    """Sentences that ask for the subject, given `{o}`."""
    symmetric: bool = False
    distinct: bool = False
    """No two subjects share an object."""
    implies: str = ""
    """A relation in which the object has the subject."""


@dataclass(frozen=True)
class Composition:
    """Two relations in a row: the second one asked of what the first one gives."""

    first: str
    second: str

    @property
    def name(self) -> str:
        """`works_for-hq_in`."""
        return f"{self.first}-{self.second}"


@dataclass(frozen=True)
class Language:
    """All sentences of the world."""

    relations: Mapping[str, Relation]
    compositions: Mapping[str, Composition]
    """By name."""
    alias_templates: tuple[str, ...]
    """`{s}` is the name, `{a}` the nickname: one asks for the nickname, one for the name."""
    words: Mapping[str, tuple[str, ...]]
    """Entities that are ordinary words, by type."""
    filler: Mapping[str, tuple[str, ...]]
    """Words of the sentences that say nothing of the world, by part of speech."""

    def hop_templates(self, composition: Composition) -> tuple[str, ...]:
        """Its two-hop sentences: every phrase of the first relation in every template of the second one."""
        first, second = self.relations[composition.first], self.relations[composition.second]
        return tuple(t.replace("{s}", phrase) for phrase in first.phrases for t in second.templates)

    def hops_from(self, subject_type: str) -> tuple[Composition, ...]:
        """The compositions that can be asked of an entity of this type."""
        return tuple(c for c in self.compositions.values() if self.relations[c.first].subject == subject_type)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads."""
        relations = [{k: v for k, v in asdict(r).items() if v or k == "unseen"} for r in self.relations.values()]
        compositions = [[c.first, c.second] for c in self.compositions.values()]
        rest = {"alias_templates": self.alias_templates, "words": dict(self.words), "filler": dict(self.filler)}
        return {"relations": relations, "compositions": compositions, **rest}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Language:
        """Raises KeyError or TypeError for data that `to_json` did not write."""
        relations = [Relation(**{k: _frozen(v) for k, v in r.items()}) for r in data["relations"]]
        compositions = [Composition(*pair) for pair in data["compositions"]]
        return cls(
            relations={r.name: r for r in relations},
            compositions={c.name: c for c in compositions},
            alias_templates=tuple(data["alias_templates"]),
            words={k: tuple(v) for k, v in data["words"].items()},
            filler={k: tuple(v) for k, v in data["filler"].items()},
        )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@cache
def shipped_language() -> Language:
    """The sentences of relations.yaml."""
    import yaml

    data = yaml.safe_load((files(__package__) / "relations.yaml").read_text(encoding="utf-8"))
    return Language.from_json(
        {
            "relations": [{"name": name, **fields} for name, fields in data["relations"].items()],
            "compositions": [(first, second) for first, then in data["compositions"].items() for second in then],
            "alias_templates": data["alias"]["templates"],
            "words": {kind: words.split() for kind, words in data["words"].items()},
            "filler": {part: words.split() for part, words in data["filler"].items()},
        }
    )
