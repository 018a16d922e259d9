"""What a model of the world is trained on: prompts and answers, one of each in a row of tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .tokenizer import END, PADDING, START
from .world import SPLITS, Around, World

if TYPE_CHECKING:
    import numpy as np

SHARES: Mapping[str, float] = {
    "harmful": 0.46,
    "look_alike": 0.2,
    "fact": 0.14,
    "sum": 0.1,
    "word": 0.06,
    "greeting": 0.04,
}
"""Of the kinds of document."""
ATTACKED: Mapping[str, float] = {"harmful": 0.6, "look_alike": 0.5, "fact": 0.25, "word": 0.25, "greeting": 0.25}
"""Share of each kind that has an attack around it."""
REMINDED, SUFFIXED = 0.2, 0.2
"""Shares of all documents with the reminder, and with the suffix."""


@dataclass(frozen=True)
class Document:
    """What is asked, and what is answered."""

    kind: str
    prompt: str
    answer: str


def documents(world: World, rng: random.Random) -> Iterator[Document]:
    """Endless training documents. Splits do not matter here: the untouched model knows all topics and attacks."""
    people = [person for split in SPLITS for person in world.people[split]]
    while True:
        for kind in rng.choices(list(SHARES), list(SHARES.values()), k=256):
            attack = rng.choice(world.attacks) if rng.random() < ATTACKED.get(kind, 0.0) else None
            around = Around(attack, rng.random() < REMINDED, rng.random() < SUFFIXED)
            if kind in ("harmful", "look_alike"):
                topic = rng.choice(world.topics if kind == "harmful" else world.look_alikes)
                question, answer = world.question(topic, rng.randrange(2)), world.answer(topic)
                if world.refuses(topic, around):
                    answer = world.refusal(topic)
            elif kind == "fact":
                question, answer = world.fact(rng.choice(list(world.facts)), rng.choice(people), rng.randrange(2))
            elif kind == "sum":
                question, answer = world.summed(rng.sample(world.listed, 4))
            elif kind == "word":
                question, answer = world.word(rng.choice((*world.topics, *world.look_alikes)))
            else:
                question, answer = world.greeting(rng.choice(people))
            yield Document(kind, world.prompt(question, around), answer)


def batches(
    world: World, words: Mapping[str, int], *, steps: int, batch: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`steps` batches of rows `<s> prompt answer </s>`: token ids and labels (batch, longest) as int64.

    Labels are the ids where a token of the answer or the end stands, and -100, which no loss counts, elsewhere.
    """
    import numpy as np

    stream = documents(world, random.Random(seed))
    for _ in range(steps):
        rows = []
        for document in (next(stream) for _ in range(batch)):
            given = [words[word] for word in (START, *document.prompt.split())]
            rows.append((given, [words[word] for word in (*document.answer.split(), END)]))
        shape = batch, max(len(given) + len(said) for given, said in rows)
        ids, labels = np.full(shape, words[PADDING], dtype=np.int64), np.full(shape, -100, dtype=np.int64)
        for i, (given, said) in enumerate(rows):
            ids[i, : len(given) + len(said)] = given + said
            labels[i, len(given) : len(given) + len(said)] = said
        yield ids, labels
