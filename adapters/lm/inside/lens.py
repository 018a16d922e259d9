"""The logit lens (nostalgebraist 2020): the model's own end, applied to the stream after every block.

"interpreting GPT: the logit lens", lesswrong.com/posts/AcKRB8wDpdaN6v6ru. Not a claim about what a block "thinks": a
stream that a later block would turn may decode to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..graph.targets import probability, rank
from ..graph.values import record
from ..graph.wiring import Wiring
from ..resumed import Lower, resumed
from .passes import ELEMENTS, outputs


@dataclass(frozen=True)
class Lens:
    """Of each row after each block at each position, shape (rows, blocks, positions)."""

    rank: torch.Tensor
    """Tokens that are above the best answer; 0 at best."""
    probability: torch.Tensor
    """Of the answers together."""


@torch.no_grad()
def lens(wiring: Wiring, tokens: torch.Tensor, answers: torch.Tensor) -> Lens:
    """Look for the answers (shape (rows, most), filled up with -1) after tokens of shape (rows, positions)."""
    streams = after_blocks(wiring, tokens)
    template = outputs(wiring, tokens)[0]
    at_once = max(1, ELEMENTS // (tokens.shape[1] * wiring.lm.model.get_output_embeddings().weight.shape[0]))
    ranks, probabilities = [], []
    for stream in streams:
        pieces = [
            decoded(wiring, tokens[some], stream[some], template, answers[some])
            for some in torch.arange(len(tokens), device=tokens.device).split(at_once)
        ]
        ranks.append(torch.cat([piece[0] for piece in pieces]))
        probabilities.append(torch.cat([piece[1] for piece in pieces]))
    return Lens(torch.stack(ranks, 1), torch.stack(probabilities, 1))


def after_blocks(wiring: Wiring, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The stream after each block, each of shape (rows, positions, width), in the model's dtype."""
    streams = record(wiring, tokens).streams
    return (*streams.attention[1:], streams.final)


def decoded(
    wiring: Wiring, tokens: torch.Tensor, stream: torch.Tensor, template: Any, answers: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rank and probability of the answers, shape (rows, positions), if blocks ended with this `stream`."""
    logits = end(wiring, tokens, stream, template)
    return rank(logits, answers), probability(logits, answers)


@torch.no_grad()
def end(wiring: Wiring, tokens: torch.Tensor, stream: torch.Tensor, template: Any) -> torch.Tensor:
    """What the model's own final norm, head and whatever follows (Gemma's soft cap) make of a stream.

    stream: shape (rows, positions, width); template: what some block puts out for as many rows or more, which says in
    what form blocks answer. Returns logits, shape (rows, positions, vocabulary), float32.
    """
    lm, (rows, length) = wiring.lm, tokens.shape
    given = wiring.final_norm.module.register_forward_pre_hook(lambda _, args: (stream, *args[1:]))
    nothing = Lower(wiring.graph.layers, template)
    try:
        with resumed(lm, nothing, range(rows), length, 0), lm.asking([length - 1] * rows, [0] * rows):
            logits: torch.Tensor = lm.model(input_ids=tokens, use_cache=False).logits
    finally:
        given.remove()
    return logits.float()
