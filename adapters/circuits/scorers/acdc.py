"""Automatic circuit discovery (Conmy et al. 2023, arXiv 2304.14997), in the order of its authors' code.

Destinations from the logits downwards: in a block the MLP, then values, keys and queries, of each the last head first.
Into each of them sources from the nearest one down to `input`, of a block the MLP and then the last head first (as the
code goes with `indices_mode` normal; other modes turn the heads round or shuffle them). An edge stays out if without it
the target falls by less than the threshold below that of the circuit so far; the target is a mean over all pairs. A
node out of which no edge is left loses the edges into it, untested: they change nothing (or little, in Gemma 2, where
all heads of a block are normalised together; the target is then computed anew).

Everything below the destination is as in the clean run, so each test restarts at the destination's block. Several
tests are run at once on the guess that all of those edges go out; what follows the first one that stays is thrown away
and tested again, so the circuit is that of one test after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ....errors import UsageError
from ...lm.graph.masked import masked_logits, removed_by
from ...lm.graph.nodes import LETTERS, Graph, Mask
from ...lm.graph.restarted import Runs, fitting, runs_of
from ..analysis import Attribution, Study
from ..evaluate import cut_up, values_of
from .exact import clean_values
from .params import Acdc, Granularity


def by_acdc(scorer: Acdc, study: Study, granularity: Granularity) -> Attribution:
    """The circuit, and for each edge the change of the target when it was tested, shape (1, edges).

    The change of an edge that went out is cut to a size below the threshold, so that by size those that stayed come
    first. An untested one has 0. Raises UsageError for nodes.
    """
    if granularity != "edge":
        raise UsageError("ACDC decides on edges; write `granularity: edge`")
    graph = study.wiring.graph
    tests = _Tests(study)
    circuit, value = graph.allowed.copy(), tests.whole
    scores = np.zeros(circuit.shape)
    below = np.nextafter(np.float32(scorer.threshold), np.float32(0))
    for done, destination in enumerate(_downwards(graph)):
        study.progress(done, len(graph.destinations))
        if destination != graph.logits and not circuit[graph.nodes_of(destination)].any():
            circuit[:, destination] = False
            if study.wiring.layers[0].attention_after:
                value = tests.values(circuit[None], destination)[0]
            continue
        sources, ahead = list(np.flatnonzero(circuit[:, destination])[::-1]), 1
        while sources:
            ahead = min(ahead, tests.most, len(sources))
            without = np.repeat(circuit[None], ahead, 0)
            for number, source in enumerate(sources[:ahead]):
                without[number:, source, destination] = False
            for found in tests.values(without, destination):
                source, change = sources.pop(0), found - value
                stays = -change >= scorer.threshold
                scores[source, destination] = change if stays else np.clip(change, -below, below)
                if stays:
                    break
                circuit[source, destination], value = False, found
            ahead = max(1, ahead // 2) if stays else 2 * ahead
    by_pair = scores[*graph.edges.T][None].astype(np.float32)
    return Attribution(graph, granularity, by_pair, kept=circuit)


def _downwards(graph: Graph) -> Iterator[int]:
    """Destinations in the order in which edges into them are tested."""
    yield graph.logits
    for layer in reversed(range(graph.layers)):
        for letter in ("m", *reversed(LETTERS)):
            places = graph.readers(layer, letter)
            yield from reversed(range(places.start, places.stop))


class _Tests:
    """The target, as a mean over all pairs, of circuits in which all is kept below one destination."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.runs: Sequence[Runs] = list(runs_of(study.wiring, study.pairs, study.ablation, study.batch))
        self.size = fitting(study.wiring, study.pairs, study.batch)
        self.most = max(1, self.size // len(study.pairs))
        """Tests that fit in one pass."""
        self.whole = float(np.concatenate([clean_values(study, runs) for runs in self.runs]).mean())
        """The untouched model's."""
        self._known: tuple[int, list[torch.Tensor]] = (-1, [])

    def values(self, masks: Mask, destination: int) -> NDArray[np.float64]:
        """Of masks of shape (masks, sources, destinations), shape (masks,)."""
        layer = int(self.study.wiring.graph.layer_of[destination])
        total = np.zeros(len(masks))
        for runs, known in zip(self.runs, self._below(layer), strict=True):
            removed, found = removed_by(runs, masks), []
            for cut in cut_up(len(masks) * len(runs.batch), self.size):
                rows = (cut % len(runs.batch)).to(removed.device)
                with torch.no_grad():
                    logits = masked_logits(runs, rows, removed[cut // len(runs.batch)], layer, known)
                found.append(values_of(self.study, runs, rows, logits))
            total += np.concatenate(found).reshape(len(masks), -1).sum(1)
        return total / len(self.study.pairs)

    def _below(self, layer: int) -> list[torch.Tensor]:
        """Differences of the sources below a block; those of the block that is at work are kept."""
        if self._known[0] != layer:
            count = self.study.wiring.graph.before_attention(layer)
            self._known = layer, [runs.differences(count) for runs in self.runs]
        return self._known[1]
