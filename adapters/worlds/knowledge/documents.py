"""What a model of the world is trained on: short documents, packed whole into rows of tokens with loss weights."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from .language import Language
from .notes import KINDS, NoteMaker
from .probes import Probe, probes
from .world import World

if TYPE_CHECKING:
    import numpy as np

EARLY: Mapping[str, float] = {
    "facts": 0.48,
    "alias": 0.09,
    "nickname": 0.02,
    "inverse": 0.03,
    "two_hop": 0.18,
    "chain_of_thought": 0.05,
    "notes": 0.12,
    "filler": 0.03,
}
"""Shares of the kinds of document in the first half of training: facts come first."""
LATE: Mapping[str, float] = {**EARLY, "facts": 0.3, "alias": 0.08, "two_hop": 0.24, "notes": 0.25}
"""Shares in the second half: what builds on the facts."""
NOTES: Mapping[int, float] = {1: 0.5, 2: 0.25, 3: 0.25}
"""How many notes a document has."""
SECOND_SEPARATED = 0.3
"""Share of rows that begin with the separator. Most do not, so that a prompt works without one."""


@dataclass(frozen=True)
class Document:
    """A sentence or a few: what is given, what is asked, what is answered."""

    kind: str
    context: str
    """Notes. They cannot be predicted and bear no loss."""
    prompt: str
    answer: str
    """Its tokens weigh more; empty in filler."""

    @property
    def text(self) -> str:
        """All of it, words and marks separated by single spaces."""
        return " ".join(part for part in (self.context, self.prompt, self.answer, ".") if part)


def documents(world: World, shares: Mapping[str, float], rng: random.Random) -> Iterator[Document]:
    """Endless training documents; none is a held-out probe."""
    pools = {kind: [_document(kind, p) for p in probes(world, kind)] for kind in _POOLS if shares.get(kind)}
    pools["nickname"] = list(_nicknames(world))
    notes = NoteMaker(world)
    while True:
        for kind in rng.choices(list(shares), list(shares.values()), k=256):
            if kind == "filler":
                yield Document(kind, "", filler(world.language, rng), "")
            elif kind == "notes":
                (about,) = rng.choices(list(KINDS), list(KINDS.values()))
                (count,) = rng.choices(list(NOTES), list(NOTES.values()))
                noted = notes.draw(rng, about, count)
                yield Document(kind, noted.notes, noted.question.prompt, noted.question.target)
            else:
                yield rng.choice(pools[kind])


_POOLS = ("facts", "alias", "inverse", "two_hop", "chain_of_thought")


def _document(kind: str, probe: Probe) -> Document:
    return Document(kind, "", probe.prompt, probe.target)


def _nicknames(world: World) -> Iterator[Document]:
    asks_alias, asks_name = world.language.alias_templates
    for name, alias in world.aliases.items():
        yield Document("nickname", "", asks_alias.format(s=name), alias)
        yield Document("nickname", "", asks_name.format(a=alias), name)


def filler(language: Language, rng: random.Random) -> str:
    """A sentence that says nothing of the world."""
    word = {part: lambda words=words: rng.choice(words) for part, words in language.filler.items()}

    def thing() -> str:
        return f"the {word['adjective']()} {word['noun']()}" if rng.random() < 0.6 else f"the {word['noun']()}"

    form = rng.random()
    if form < 0.4:
        return f"{thing()} {word['went']()} {word['how']()} {word['where']()} {thing()}"
    if form < 0.8:
        return f"{thing()} {word['did']()} {thing()} {word['where']()} {thing()}"
    return f"{word['how']()} {thing()} and {thing()} {word['went']()} {word['where']()} {thing()}"


def rows(
    stream: Iterator[Document], vocabulary: Mapping[str, int], *, length: int, object_weight: float, rng: random.Random
) -> Iterator[tuple[list[int], list[float]]]:
    """Endless rows of `length` token ids, and the weight of each in the loss (0 for notes and padding).

    Documents are never cut; between two of them stands the separator. A document longer than a row is left out.
    """
    separator = vocabulary["<eos>"]
    ids: list[int] = []
    weights: list[float] = []
    for document in stream:
        parts = (document.context, 0.0), (document.prompt, 1.0), (document.answer, object_weight), (".", 1.0)
        tokens = [vocabulary[word] for text, _ in parts for word in text.split()]
        loss = [weight for text, weight in parts for _ in text.split()]
        if len(tokens) >= length:
            continue
        if len(ids) + 1 + len(tokens) > length:
            missing = length - len(ids)
            yield ids + [separator] * missing, weights + [0.0] * missing
            ids, weights = [], []
        if ids or rng.random() < SECOND_SEPARATED:
            ids, weights = [*ids, separator], [*weights, 1.0]
        ids, weights = ids + tokens, weights + loss


def batches(
    world: World,
    vocabulary: Mapping[str, int],
    *,
    steps: int,
    batch: int,
    length: int,
    object_weight: float,
    seed: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`steps` batches: token ids (batch, length) as int64, loss weights (batch, length) as float32."""
    import numpy as np

    rng = random.Random(seed)
    for shares, count in ((EARLY, steps // 2), (LATE, steps - steps // 2)):
        stream = documents(world, shares, rng)
        packed = rows(stream, vocabulary, length=length, object_weight=object_weight, rng=rng)
        for _ in range(count):
            ids, weights = zip(*islice(packed, batch), strict=True)
            yield np.array(ids, dtype=np.int64), np.array(weights, dtype=np.float32)
