"""Scores that need no gradient: information-flow routes, and chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ....errors import UsageError
from ...lm.graph.gradients import pieces
from ...lm.graph.nodes import LETTERS
from ...lm.graph.pairs import batches
from ...lm.graph.values import record, written
from ...lm.graph.wiring import Wiring
from ..analysis import Attribution, Study

if TYPE_CHECKING:
    from .params import Granularity


def by_information_flow(study: Study, granularity: Granularity) -> Attribution:
    """Minus the share of each source in what a destination reads, mean over positions; one forward pass.

    With y what is read and z what a source writes, the share is max(0, ‖y‖₁ − ‖y − z‖₁) over the sum of that for all
    sources that the destination can read (Ferrando and Voita 2024, arXiv 2403.00824; on whole heads, as EAP-IG's code
    has it). Queries, keys and values of a block read the same and score the same. Raises UsageError for nodes.
    """
    if granularity == "node":
        raise UsageError("scorer information_flow scores edges; choose granularity: edge")
    graph = study.wiring.graph
    sources, destinations = graph.edges.T
    found = np.zeros((len(study.pairs), len(sources)), np.float32)
    done = 0
    for batch in batches(study.pairs, study.batch, study.wiring.lm.device):
        flow = _flow(study.wiring, batch.clean)
        found[list(batch.places)] = -flow[:, sources, destinations].cpu().numpy()
        done += len(batch)
        study.progress(done, len(study.pairs))
    return Attribution(graph, granularity, found)


def by_chance(study: Study, granularity: Granularity) -> Attribution:
    """Standard normal numbers, the same for all pairs; they depend on the seed alone."""
    graph = study.wiring.graph
    count = len(graph.edges) if granularity == "edge" else len(graph.sources)
    scores = study.rng("random-scores").standard_normal((1, count), np.float32)
    return Attribution(graph, granularity, scores)


def _flow(wiring: Wiring, tokens: torch.Tensor) -> torch.Tensor:
    """Shares, shape (rows, sources, destinations)."""
    graph, seen = wiring.graph, record(wiring, tokens)
    reads = [(seen.streams.final, len(graph.sources), [slice(graph.logits, graph.logits + 1)])]
    for number in range(graph.layers):
        heads = [graph.readers(number, letter) for letter in LETTERS]
        reads.append((seen.streams.attention[number], graph.before_attention(number), heads))
        reads.append((seen.streams.mlp[number], graph.before_mlp(number), [graph.readers(number, "m")]))
    found = tokens.new_zeros(len(tokens), len(graph.sources), len(graph.destinations), dtype=torch.float32)
    for rows, positions in pieces(seen.values, len(graph.sources)):
        wrote = written(wiring, seen.values.map(lambda t: t[rows, positions]))  # noqa: B023 - called at once
        for stream, count, places in reads:
            shares = _shares(wrote[:, :, :count], stream[rows, positions].float()).sum(1) / tokens.shape[1]
            for place in places:
                found[rows, :count, place] += shares[..., None]
    return found


def _shares(wrote: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
    """`wrote` of shape (rows, positions, sources, width), `read` (rows, positions, width); (rows, positions, sources).

    Where no source is near, all shares are 0.
    """
    whole = read.abs().sum(-1, keepdim=True)
    near = (whole - (read[:, :, None] - wrote).abs().sum(-1)).clamp(min=0)
    total = near.sum(-1, keepdim=True)
    return near / total.masked_fill(total == 0, 1)
