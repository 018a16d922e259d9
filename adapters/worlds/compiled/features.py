"""Directions of the residual stream that mean something. Numpy only.

All are unit vectors whose numbers add up to zero, so that LayerNorm does nothing but scale: a stream of norm n has its
component c along a direction turned into √width · c / n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....job import rng
from .design import Design

Vectors = NDArray[np.float64]
"""Shape (features, width)."""


@dataclass(frozen=True)
class Features:
    """Which row means what."""

    start: Vectors
    """`<bos>`; shape (1, width), as has the next one."""
    end: Vectors
    """`is`."""
    relation_words: Vectors
    subject_words: Vectors
    asked: Vectors
    """A relation that is asked for, where the question ends."""
    known: tuple[Vectors, ...]
    """By relation: an attribute, where the subject stands."""
    said: tuple[Vectors, ...]
    """By relation: an attribute that is the answer."""

    @property
    def any_word(self) -> NDArray[np.float64]:
        """Shape (width,)."""
        return np.concatenate([self.start, self.end, self.relation_words, self.subject_words]).sum(0)


def directions(design: Design, seed: int) -> Vectors:
    """Of all features. Pairs of axes without superposition, else a random tight frame: at right angles to each other
    as long as they are fewer than dimensions, else as evenly spread as can be."""
    count, width = design.features, design.width
    if not design.superposition:
        found = np.zeros((count, width))
        found[np.arange(count), np.arange(count)] = np.sqrt(0.5)
        found[np.arange(count), width // 2 + np.arange(count)] = -np.sqrt(0.5)
        return found
    drawn = rng(seed, "compiled-features").standard_normal((count, width))
    left, _, right = np.linalg.svd(drawn - drawn.mean(1, keepdims=True), full_matrices=False)
    rank = min(count, width - 1)
    found = left[:, :rank] @ right[:rank]
    unit: Vectors = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


@dataclass(frozen=True)
class Stream:
    """How the residual stream is written and read.

    A feature is read with 1 on its own direction and 0 on those of all others that can stand in the same place, so that
    directions that overlap are told apart as long as not too many of them meet. At right angles each is read with
    itself.
    """

    written: Features
    in_question: Features
    """What features are read with inside of a question, where nothing is said yet; `said` is empty."""
    at_end: Features
    """What they are read with where it ends, where nothing is known; `known` is empty."""


def stream_of(design: Design, seed: int) -> Stream:
    """The directions of a model, and their readers."""
    vectors = directions(design, seed)
    attributes = sum(design.attributes)
    number = np.arange(design.features)
    said, known = number >= design.features - attributes, number >= design.features - 2 * attributes
    return Stream(
        _named(design, vectors),
        _named(design, _readers(vectors, ~said)),
        _named(design, _readers(vectors, ~known | said)),
    )


def _readers(vectors: Vectors, present: NDArray[np.bool_]) -> Vectors:
    """Duals of the vectors that are present, zero for the others."""
    found = np.zeros_like(vectors)
    found[present] = np.linalg.pinv(vectors[present]).T
    return found


def _named(design: Design, vectors: Vectors) -> Features:
    """The rows, handed out."""
    sizes = (1, 1, design.relations, design.subjects, design.relations, *design.attributes, *design.attributes)
    start, end, words, subjects, asked, *rest = np.split(vectors, np.cumsum(sizes)[:-1])
    known, said = rest[: design.relations], rest[design.relations :]
    return Features(start, end, words, subjects, asked, tuple(known), tuple(said))
