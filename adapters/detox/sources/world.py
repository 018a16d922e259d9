"""Detox cases of a forbidden world (adapters/worlds/forbidden): what is asked, and what is watched beside it.

Nothing here is drawn: every order follows from `canonical.ranked`, and pools are gone through in turn, so that all
their members are used alike often.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import permutations, product
from typing import Literal, TypeVar

from ....canonical import digest, ranked
from ...lm.requests import EditRequest
from ...worlds.forbidden.world import SPLITS, Around, Attack, Split, Topic, World
from ..cases import DetoxCase, Question

WorldSplit = Literal["validation", "test"]
Item = TypeVar("Item")

ROUNDS: Mapping[WorldSplit, int] = {"validation": 4, "test": 6}
"""Cases of each category."""
OF_A_KIND = 2
"""Harmless prompts of each kind that a case has."""
KEPT = ("look_alike", "attacked", "fact", "look_alike", "attacked", "sum", "word", "greeting")
"""What the requests of the training split keep, in turn."""

DIGESTS = {
    "forbidden": "9ef3f52aa140c8cb903b599fb0539bbb",
    "forbidden-1": "46475f4051e43c6da4db3f5610467aa7",
    "forbidden-2": "4a7ebb6ecadb287e7f18f578bdc58e29",
}
"""`world_digest` of each shipped world. When one changes, raise `ForbiddenCases.version`."""


def world_digest(world: World) -> str:
    """Digest of a world and of everything that is made of it here."""
    cases = [asdict(case) for split in ROUNDS for case in world_cases(world, split)]
    return digest({"world": world.to_json(), "cases": cases, "training": [asdict(r) for r in world_training(world)]})


def world_cases(world: World, split: WorldSplit) -> list[DetoxCase]:
    """All cases of a split, the categories in turn; a topic is asked about in its other form after all others were.

    Nothing that a case asks is in the training split; what it keeps, alternately a fact and a look-alike, is.
    """
    asked, attacks = _asked(world, split), _attacks(world, split)
    watched, kept = _Harmless(world, split), _Harmless(world, "train")
    size = len(world.forbidden)
    cases = []
    for i, (topic, form) in enumerate(asked):
        turn, category = divmod(i, size)
        attack, other_attack = _turn(attacks, i), _turn(attacks, i + 1 + turn % (len(attacks) - 1))
        # Of another category in the next round: so each question is another one's exactly once.
        other = (turn + 1) % ROUNDS[split] * size + (category + 1 + turn % (size - 1)) % size
        question, other_question = world.question(topic, form), world.question(*asked[other])
        places = range(OF_A_KIND * i, OF_A_KIND * (i + 1))
        prompt = world.prompt(question, Around(attack))
        request = EditRequest(
            id=f"{topic.word}-{form}",
            prompt=prompt,
            subject=topic.word,
            target_new=world.refusal(topic),
            target_true=world.answer(topic),
            relation=topic.group,
            keep=(_turn(kept.look_alikes if i % 2 else kept.facts, i // 2),),
        )
        inputs = {
            "ds": prompt,
            "only_q": question,
            "other_a": world.prompt(question, Around(other_attack)),
            "other_q": world.prompt(other_question, Around(attack)),
            "other_aq": world.prompt(other_question, Around(other_attack)),
        }
        # Half a round further on, so that no look-alike is asked about with and without an attack.
        shifted = [_turn(watched.look_alikes, n + len(watched.look_alikes) // 4)[0] for n in places]
        cases.append(
            DetoxCase(
                request,
                topic.word,
                attack.name,
                inputs,
                look_alikes=tuple(_turn(watched.look_alikes, n)[0] for n in places),
                attacked_look_alikes=tuple(
                    world.prompt(q, Around(a)) for q, a in zip(shifted, (attack, other_attack), strict=True)
                ),
                instructions=(_turn(watched.words, i)[0], _turn(watched.greetings, i)[0]),
                knowledge=tuple(_turn(watched.values, n) for n in places),
                summaries=tuple(Question(*_turn(watched.sums, n)) for n in places),
            )
        )
    return cases


def world_training(world: World) -> list[EditRequest]:
    """Every question of the training split, alone and in each of its attacks, mixed alike from the first request on.

    What a request keeps is of the training split too, and of the kinds `KEPT` in turn.
    """
    topics = [t for turn in zip(*_by_category(world, "train"), strict=True) for t in turn]
    attacks = _attacks(world, "train")
    around = [Around(), *map(Around, attacks)]
    harmless = _Harmless(world, "train")
    pools = {
        "look_alike": harmless.look_alikes,
        "attacked": harmless.attacked(attacks),
        "fact": harmless.facts,
        "sum": harmless.sums,
        "word": harmless.words,
        "greeting": harmless.greetings,
    }
    used = dict.fromkeys(pools, 0)
    requests: list[EditRequest] = []
    for forms, step, (place, topic) in product(range(2), range(len(around)), enumerate(topics)):
        variant = (step + place) % len(around)
        form, attack = (forms + variant) % 2, around[variant].attack
        kind = _turn(KEPT, len(requests))
        requests.append(
            EditRequest(
                id=f"{topic.word}-{form}-{attack.name if attack else 'plain'}",
                prompt=world.prompt(world.question(topic, form), around[variant]),
                subject=topic.word,
                target_new=world.refusal(topic),
                target_true=world.answer(topic),
                relation=topic.group,
                keep=(_turn(pools[kind], used[kind]),),
            )
        )
        used[kind] += 1
    return requests


class _Harmless:
    """The harmless prompts of a split with their answers, by kind; neighbours are about different words."""

    def __init__(self, world: World, split: Split) -> None:
        self._world = world
        topics, look_alikes, _ = world.of(split)
        words = {topic.word: topic for topic in (*topics, *look_alikes)}
        alike = [words[word] for word in ranked((t.word for t in look_alikes), "look-alike")]
        people = ranked(world.people[split], "person")
        facts = [(r, e, form) for r, form in product(world.facts, range(2)) for e in people]
        texts = ranked((" ".join(some) for some in permutations(world.listed, 4)), "sum")
        forms = [(topic, (place + turn) % 2) for turn in range(2) for place, topic in enumerate(alike)]
        self.look_alikes = [(world.question(topic, form), world.answer(topic)) for topic, form in forms]
        self.facts = [world.fact(*fact) for fact in facts]
        self.values = [Question(world.fact(r, e, form)[0], world.facts[r][e]) for r, e, form in facts]
        self.words = [world.word(words[word]) for word in ranked(words, "word")]
        self.greetings = [world.greeting(person) for person in people]
        # Every third text is of the same split.
        self.sums = [world.summed(text.split()) for text in texts[SPLITS.index(split) :: len(SPLITS)]]

    def attacked(self, attacks: Sequence[Attack]) -> list[tuple[str, str]]:
        """Every look-alike in every attack."""
        return [
            (self._world.prompt(question, Around(_turn(attacks, place + step))), answer)
            for step in range(len(attacks))
            for place, (question, answer) in enumerate(self.look_alikes)
        ]


def _asked(world: World, split: WorldSplit) -> list[tuple[Topic, int]]:
    """The topic and form of every case: in a round each category has its next topic, then its first in the other
    form."""
    return [
        (topics[turn % len(topics)], (turn % len(topics) + category + turn // len(topics)) % 2)
        for turn in range(ROUNDS[split])
        for category, topics in enumerate(_by_category(world, split))
    ]


def _by_category(world: World, split: Split) -> Iterator[list[Topic]]:
    """The harmful topics of a split, by category, each in an order that looks random."""
    for category in world.forbidden:
        topics = {t.word: t for t in world.of(split)[0] if t.group == category}
        yield [topics[word] for word in ranked(topics, "topic")]


def _attacks(world: World, split: Split) -> list[Attack]:
    """The attacks of a split in an order that looks random."""
    attacks = {attack.name: attack for attack in world.of(split)[2]}
    return [attacks[name] for name in ranked(attacks, "attack")]


def _turn(items: Sequence[Item], n: int) -> Item:
    """The `n`-th of items that are gone through again and again."""
    return items[n % len(items)]
