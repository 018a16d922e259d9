"""The circuit as weights of a GPT-2, among weights that are noise. Numpy only; names and shapes are GPT-2's.

Strengths are chosen in the stream as it is without noise: a token has norm 1, the memory adds norm `MEMORY` where the
subject stands, the relation head `ASKED` where the question ends, the mover `SAID` there. A reader's gain is divided by
the share that its direction has there, so that a score or a value is what is written here, whatever the design.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ....job import rng
from .circuit import Circuit, Head
from .design import Design
from .facts import Facts
from .features import Stream, Vectors, stream_of

Array = NDArray[np.float64]
MEMORY, ASKED, SAID = 2.0, 2.0, 3.0
LOGIT = 12.0
"""Logit of an attribute if nothing else were in the stream."""
FIRING = 5.0
"""Input of the memory's neuron for the subject that is there; minus this for all others. GELU is linear out there."""
_GELU = 0.652
"""Root mean square of GELU of a standard normal number."""


@dataclass(frozen=True)
class _Block:
    """The weights of a block; a column of `attention` or `up` reads, a row of `out` or `down` writes."""

    attention: Array
    """Shape (width, 3, heads, head width)."""
    out: Array
    """Shape (heads, head width, width)."""
    up: Array
    """Shape (width, neurons)."""
    up_bias: Array
    down: Array
    """Shape (neurons, width)."""


def weights_of(facts: Facts, circuit: Circuit) -> dict[str, Array]:
    """Every parameter of a `GPT2LMHeadModel` that is not as it is in an untrained one's norms and biases, by name."""
    design = facts.design
    stream = stream_of(design, facts.seed)
    blocks = [_decoys(design, facts.seed, layer) for layer in range(design.layers)]
    _write_memory(blocks[circuit.memory], facts, stream)
    _write_relation_head(_emptied(blocks, circuit.relation), design, stream)
    for relation, mover in enumerate(circuit.movers):
        _write_mover(_emptied(blocks, mover), relation, design, stream, quiet=False)
    for relation, backup in enumerate(circuit.backups):
        _write_mover(_emptied(blocks, backup), relation, design, stream, quiet=True)
    return dict(_named(blocks, design)) | _tokens(facts, stream)


def _decoys(design: Design, seed: int, layer: int) -> _Block:
    """Heads that attend somewhere and write noise, an MLP that does so."""
    drawn = rng(seed, "compiled-noise", str(layer)).standard_normal
    width, heads, neurons = design.width, design.heads, design.neurons
    inside = width // heads
    return _Block(
        drawn((width, 3, heads, inside)) / sqrt(width),
        drawn((heads, inside, width)) * design.noise / sqrt(inside * width),
        drawn((width, neurons)) / sqrt(width),
        np.zeros(neurons),
        drawn((neurons, width)) * design.noise / (_GELU * sqrt(neurons * width)),
    )


def _share(part: float, other: float) -> float:
    """Of one component in a stream with another at right angles to it."""
    return part / sqrt(part**2 + other**2)


def _write_memory(block: _Block, facts: Facts, stream: Stream) -> None:
    """A neuron for each subject writes its attributes."""
    design = facts.design
    each = MEMORY / sqrt(design.relations)
    for subject in range(design.subjects):
        block.up[:, subject] = _reading(stream.in_question.subject_words[subject], 2 * FIRING)
        block.up_bias[subject] = -FIRING
        known = sum(stream.written.known[r][facts.table[r][subject]] for r in range(design.relations))
        block.down[subject] = known * each / FIRING


@dataclass(frozen=True)
class _Head:
    """A head's weights; `query`, `key` and `value` of shape (width, head width), `out` of shape (head width, width)."""

    query: Array
    key: Array
    value: Array
    out: Array

    @property
    def nats(self) -> float:
        """What a query is multiplied with, so that its product with a key is in nats."""
        return sqrt(self.query.shape[1])


def _emptied(blocks: list[_Block], head: Head) -> _Head:
    """The weights of a head as views, all zero."""
    layer, number = head
    block = blocks[layer]
    block.attention[:, :, number] = 0
    block.out[number] = 0
    query, key, value = (block.attention[:, which, number] for which in range(3))
    return _Head(query, key, value, block.out[number])


def _write_relation_head(head: _Head, design: Design, stream: Stream) -> None:
    """From the end of the question it attends to the relation's word, from elsewhere to `<bos>`, which says nothing."""
    found, end = stream.in_question, stream.at_end
    scale = design.sharpness * head.nats
    head.query[:, 0] = _reading(end.end[0], 2 * scale)
    head.key[:, 0] = _reading(found.relation_words.sum(0), 1)
    head.query[:, 1] = _reading(end.any_word, scale)
    head.key[:, 1] = _reading(found.start[0], 1)
    for relation in range(design.relations):
        head.value[:, relation] = _reading(found.relation_words[relation], 1)
        head.out[relation] = stream.written.asked[relation] * ASKED


def _write_mover(head: _Head, relation: int, design: Design, stream: Stream, quiet: bool) -> None:
    """Where its relation is asked for, it attends to the subject and says the attribute; else it rests on `<bos>`.

    `quiet`: also where an attribute of the relation was said already.
    """
    found, end = stream.in_question, stream.at_end
    scale = design.sharpness * head.nats
    gate = end.asked[relation] - (end.said[relation].sum(0) if quiet else 0)
    head.query[:, 0] = _reading(gate, 2 * scale / (_share(ASKED, 1) * _share(1, MEMORY)))
    head.key[:, 0] = _reading(found.subject_words.sum(0), 1)
    head.query[:, 1] = _reading(end.any_word, scale / _share(1, ASKED))
    head.key[:, 1] = _reading(found.start[0], 1)
    shown = MEMORY / sqrt(design.relations) / sqrt(1 + MEMORY**2)
    for attribute, direction in enumerate(found.known[relation]):
        head.value[:, attribute] = _reading(direction, 1 / shown)
        head.out[attribute] = stream.written.said[relation][attribute] * SAID


def _reading(direction: NDArray[np.float64], gain: float) -> Array:
    """What gives `gain` times the share of this direction in a stream that went through LayerNorm."""
    found: Array = direction * gain / sqrt(direction.shape[-1])
    return found


def _named(blocks: list[_Block], design: Design) -> Iterator[tuple[str, Array]]:
    width = design.width
    for layer, block in enumerate(blocks):
        start = f"transformer.h.{layer}."
        yield f"{start}attn.c_attn.weight", block.attention.reshape(width, 3 * width)
        yield f"{start}attn.c_proj.weight", block.out.reshape(width, width)
        yield f"{start}mlp.c_fc.weight", block.up
        yield f"{start}mlp.c_fc.bias", block.up_bias
        yield f"{start}mlp.c_proj.weight", block.down


def _tokens(facts: Facts, stream: Stream) -> dict[str, Array]:
    """Embedding and unembedding. An attribute's token is embedded as the attribute that is said; the unknown word as
    nothing."""
    written = stream.written
    said: Vectors = np.concatenate(written.said)
    nothing = np.zeros((1, facts.design.width))
    words = (written.start, nothing, written.end, written.relation_words, written.subject_words)
    embedded = np.concatenate([*words, said])
    unembedded = np.zeros_like(embedded)
    unembedded[-len(said) :] = _reading(np.concatenate(stream.at_end.said), LOGIT)
    return {"transformer.wte.weight": embedded, "lm_head.weight": unembedded}
