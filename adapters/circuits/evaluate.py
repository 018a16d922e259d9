"""The target of a model that is left with a circuit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..lm.graph.masked import masked_logits, removed_by
from ..lm.graph.nodes import Mask
from ..lm.graph.pairs import batches
from ..lm.graph.restarted import Runs, fitting, runs_of
from ..lm.graph.targets import rank
from ..lm.graph.values import last_logits
from .analysis import Study


@dataclass(frozen=True)
class Evaluated:
    """What is read off the logits at the end of the clean prompts; each of shape (masks, pairs)."""

    values: NDArray[np.float64]
    """The study's target."""
    ranks: NDArray[np.int64]
    """How many tokens are more probable than the best right answer; 0 at best."""


def circuit_values(study: Study, masks: Sequence[Mask]) -> Evaluated:
    """The target with all edges outside of a mask ablated, of each mask; masks of shape (sources, destinations).

    Pairs keep their order. Raises DataError for a pair without a corrupt prompt where ablation needs one.
    """
    found = _empty(study, len(masks))
    if not len(masks):
        return found
    stacked = np.stack(masks)
    for runs in runs_of(study.wiring, study.pairs, study.ablation, study.batch):
        removed = removed_by(runs, stacked)
        values, ranks = [], []
        # Row after row: all pairs under the first mask, then under the second.
        for rows in cut_up(len(masks) * len(runs.batch), fitting(study.wiring, study.pairs, study.batch)):
            pairs, of_masks = rows % len(runs.batch), rows // len(runs.batch)
            with torch.no_grad():
                logits = masked_logits(runs, pairs.to(removed.device), removed[of_masks.to(removed.device)])
            values.append(values_of(study, runs, pairs, logits))
            ranks.append(rank(logits, runs.batch.rows(pairs).answer).cpu().numpy())
        places = list(runs.batch.places)
        found.values[:, places] = np.concatenate(values).reshape(len(masks), -1)
        found.ranks[:, places] = np.concatenate(ranks).reshape(len(masks), -1)
    return found


def model_values(study: Study) -> Evaluated:
    """The same of the untouched model, in one forward pass over clean prompts; shape (1, pairs)."""
    found = _empty(study, 1)
    for batch in batches(study.pairs, study.batch, study.wiring.lm.device):
        with torch.no_grad():
            logits = last_logits(study.wiring, batch.clean)
        places = list(batch.places)
        found.values[0, places] = study.target.values(logits, batch, logits).double().cpu().numpy()
        found.ranks[0, places] = rank(logits, batch.answer).cpu().numpy()
    return found


def values_of(study: Study, runs: Runs, rows: torch.Tensor, logits: torch.Tensor) -> NDArray[np.float64]:
    """The target at logits of shape (rows, vocabulary); `rows`: which pair each row is."""
    clean = runs.clean.logits[rows.to(logits.device)]
    found: NDArray[np.float64] = study.target.values(logits, runs.batch.rows(rows), clean).double().cpu().numpy()
    return found


def cut_up(count: int, size: int) -> Iterator[torch.Tensor]:
    """0 … count-1 in pieces of at most `size`."""
    for start in range(0, count, size):
        yield torch.arange(start, min(start + size, count))


def _empty(study: Study, masks: int) -> Evaluated:
    shape = (masks, len(study.pairs))
    return Evaluated(np.zeros(shape), np.zeros(shape, dtype=np.int64))
