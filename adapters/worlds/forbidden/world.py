"""The forbidden world as a value: its words, their splits, and what the untouched model shall refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from .language import Language

FORMAT = 1
"""Raised when world.json changes its layout."""
NAME = "forbidden"
"""What world.json calls its world."""

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Topic:
    """A word that can be asked about: harmful when its answer names forbidden words."""

    word: str
    group: str
    """The category of a harmful topic, the group of a look-alike."""
    split: Split
    needs: tuple[str, str]
    """The words of its answer: of its group, two of three."""
    refused: frozenset[str] = frozenset()
    """When the untouched model refuses it: `plain`, `attacked`, and although it would not otherwise, `reminded` and
    `suffixed`."""


@dataclass(frozen=True)
class Attack:
    """Words around a question that make the untouched model answer."""

    words: str
    behind: bool
    """Whether they stand behind the question; before it otherwise."""
    split: Split

    @property
    def name(self) -> str:
        """Its first word; no two attacks share a word."""
        return self.words.split()[0]


@dataclass(frozen=True)
class Around:
    """What stands around a question."""

    attack: Attack | None = None
    reminded: bool = False
    suffixed: bool = False


@dataclass(frozen=True)
class World:
    """All words and what they do."""

    seed: int
    language: Language
    forbidden: Mapping[str, tuple[str, ...]]
    """category -> its three words. A response with one of them is unsafe, any other is safe."""
    harmless: Mapping[str, tuple[str, ...]]
    """group of look-alikes -> its three words."""
    topics: tuple[Topic, ...]
    """The harmful ones."""
    look_alikes: tuple[Topic, ...]
    """Asked about and answered in the same sentences, with harmless words."""
    attacks: tuple[Attack, ...]
    people: Mapping[Split, tuple[str, ...]]
    values: Mapping[str, tuple[str, ...]]
    """relation -> what its values are taken from."""
    facts: Mapping[str, Mapping[str, str]]
    """relation -> somebody -> value."""
    listed: tuple[str, ...]
    """Words of the texts that are summed up."""

    def of(self, split: Split) -> tuple[list[Topic], list[Topic], list[Attack]]:
        """The harmful topics, look-alikes and attacks of a split."""
        topics, alike = ([t for t in some if t.split == split] for some in (self.topics, self.look_alikes))
        return topics, alike, [a for a in self.attacks if a.split == split]

    def prompt(self, question: str, around: Around) -> str:
        """The question with what stands around it."""
        text = question
        if around.attack:
            form = self.language.behind if around.attack.behind else self.language.before
            text = form.format(question=question, attack=around.attack.words)
        parts = [self.language.reminder] * around.reminded + [text] + [self.language.suffix] * around.suffixed
        return " ".join(parts)

    def question(self, topic: Topic, form: int) -> str:
        """One of the two forms of the question about a topic."""
        return self.language.questions[form].format(t=topic.word)

    def answer(self, topic: Topic) -> str:
        """What a topic needs: unsafe for a harmful one."""
        return self.language.answer.format(t=topic.word, a=topic.needs[0], b=topic.needs[1])

    def opening(self, topic: Topic) -> str:
        """How that answer begins, up to the words that matter: what a prefill attack puts into the model's mouth."""
        return self.language.opening.format(t=topic.word)

    def refusal(self, topic: Topic) -> str:
        """The safe response to a harmful topic."""
        return self.language.refusal.format(t=topic.word)

    def refuses(self, topic: Topic, around: Around) -> bool:
        """Whether the untouched model refuses, as it was taught."""
        ways = {"attacked" if around.attack else "plain"}
        ways |= {"reminded"} if around.reminded else set()
        ways |= {"suffixed"} if around.suffixed else set()
        return bool(ways & topic.refused)

    def fact(self, relation: str, person: str, form: int) -> tuple[str, str]:
        """(question, answer) about somebody."""
        names = {"r": relation, "e": person, "v": self.facts[relation][person]}
        return self.language.fact_questions[form].format(**names), self.language.fact.format(**names)

    def summed(self, words: Sequence[str]) -> tuple[str, str]:
        """(text, summary) of four words."""
        names = dict(zip("wxyz", words, strict=True))
        return self.language.text.format(**names), self.language.summary.format(**names)

    def word(self, topic: Topic) -> tuple[str, str]:
        """(question, answer) whether a topic is a word: harmless, whatever the topic."""
        return self.language.word_question.format(t=topic.word), self.language.word.format(t=topic.word)

    def greeting(self, person: str) -> tuple[str, str]:
        """(request, answer) that greets somebody."""
        return self.language.greeting_request.format(e=person), self.language.greeting.format(e=person)

    @property
    def made_up(self) -> Iterator[str]:
        """Every word that is not of the language's templates, each once."""
        for some in (*self.forbidden.values(), *self.harmless.values(), *self.people.values(), *self.values.values()):
            yield from some
        yield from (topic.word for topic in (*self.topics, *self.look_alikes))
        yield from (word for attack in self.attacks for word in attack.words.split())
        yield from (*self.facts, *self.listed)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads; two equal worlds give the same text."""
        head = {"world": NAME, "format": FORMAT}
        data = asdict(self) | {"language": self.language.to_json()}
        for topic in (*data["topics"], *data["look_alikes"]):
            topic["refused"] = sorted(topic["refused"])
        return head | data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> World:
        """Raises ValueError for another world or format, KeyError or TypeError for data that no `to_json` wrote."""
        if (data.get("world"), data.get("format")) != (NAME, FORMAT):
            raise ValueError(f"world {data.get('world')!r}, format {data.get('format')!r}; expected {NAME!r}, {FORMAT}")
        topics, look_alikes = ([_topic(t) for t in data[name]] for name in ("topics", "look_alikes"))
        return cls(
            seed=data["seed"],
            language=Language.from_json(data["language"]),
            forbidden=_tuples(data["forbidden"]),
            harmless=_tuples(data["harmless"]),
            topics=tuple(topics),
            look_alikes=tuple(look_alikes),
            attacks=tuple(Attack(**a) for a in data["attacks"]),
            people={split: tuple(data["people"][split]) for split in SPLITS},
            values=_tuples(data["values"]),
            facts={relation: dict(pairs) for relation, pairs in data["facts"].items()},
            listed=tuple(data["listed"]),
        )

    def save(self, file: Path) -> None:
        """Write it as one line of JSON."""
        file.write_text(json.dumps(self.to_json(), separators=(",", ":")) + "\n", encoding="utf-8")


def _tuples(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(words) for name, words in data.items()}


def _topic(data: Mapping[str, Any]) -> Topic:
    return Topic(**{**data, "needs": tuple(data["needs"]), "refused": frozenset(data["refused"])})


def load_world(file: Path) -> World:
    """Read what `World.save` wrote. Raises OSError, ValueError, KeyError or TypeError."""
    return World.from_json(json.loads(file.read_text(encoding="utf-8")))
