"""Edits by a trained network, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .....errors import ModelError
from .....job import Job
from ...architecture import Linear, blocks, linear
from ...model import LanguageModel
from ...patch import LowRank, Patch
from ...scoring import Row, batches
from .artifact import LOSSES, trained
from .gradients import token_gradients
from .network import Hypernetwork, Shape, untrained
from .training import train

if TYPE_CHECKING:
    from .params import Mend

__all__ = ["LAST", "LOSSES", "change_of", "each_alone", "network_of", "projections", "together"]

LAST = 3
"""Blocks that are edited when nothing is said, counted from the top."""


def projections(spec: Mend, lm: LanguageModel) -> tuple[list[Linear], int]:
    """The edited projections, from the lowest block on, and that block. Raises Skip, ModelError."""
    count = len(blocks(lm.model)[1])
    layers = range(max(count - LAST, 0), count) if spec.layers is None else sorted(set(spec.layers))
    found: dict[str, Linear] = {}
    for layer in layers:
        for role in spec.modules or ("mlp_up", "mlp_gate", "mlp_down"):
            try:
                projection = linear(lm.model, layer, role)
            except ModelError:
                if spec.modules or role != "mlp_gate":
                    raise
                continue  # an MLP without a gate, or with one that is a part of `mlp_up`
            found[projection.name] = projection
    return list(found.values()), min(layers)


def network_of(spec: Mend, lm: LanguageModel, job: Job) -> Hypernetwork:
    """The trained network, which is an artifact. Raises Skip."""
    edited, start = projections(spec, lm)
    shapes: list[Shape] = [(rows, columns) for rows, columns in (p.stored(p.module.weight).shape for p in edited)]
    tensors = trained(
        spec,
        lm,
        job,
        lambda name: untrained(
            shapes, spec.rank, spec.edit_lr, lambda part: job.rng(f"{name}-network", part), lm.device
        ),
        lambda found, network, rng: train(spec, lm, found, edited, start, network, rng),
    )
    return Hypernetwork(shapes, tensors)


@torch.no_grad()
def each_alone(spec: Mend, lm: LanguageModel, network: Hypernetwork, rows: Sequence[Row]) -> list[Patch]:
    """A low-rank patch for each row; `nll` in its notes is the loss whose gradient was taken."""
    edited, _ = projections(spec, lm)
    found: dict[int, Patch] = {}
    for batch in batches(rows, spec.batch_size):
        gradients, nll = token_gradients(lm, [rows[i] for i in batch], edited)
        changes = [network.factors(weight, tokens).of_each() for weight, tokens in enumerate(gradients)]
        for at, i in enumerate(batch):
            deltas = {p.weight_name: change_of(p, *of_weight[at]) for p, of_weight in zip(edited, changes, strict=True)}
            found[i] = Patch(deltas, notes={"nll": nll[at]})
    return [found[i] for i in range(len(rows))]


def together(spec: Mend, lm: LanguageModel, network: Hypernetwork, rows: Sequence[Row]) -> Patch:
    """A low-rank patch: the sum of what the rows' patches change."""
    each = each_alone(spec, lm, network, rows)
    deltas = {}
    for projection in projections(spec, lm)[0]:
        changes = [patch.deltas[projection.weight_name] for patch in each]
        parts = [change for change in changes if isinstance(change, LowRank)]
        if parts:
            joined = LowRank(torch.cat([p.left for p in parts], 1), torch.cat([p.right for p in parts]))
            deltas[projection.weight_name] = _low(joined)
    return Patch(deltas, notes={"nll": [patch.notes["nll"] for patch in each]})


def change_of(projection: Linear, left: torch.Tensor, right: torch.Tensor) -> LowRank:
    """The change of a weight as stored; `left`, `right`: one row for each token."""
    left, right = (right, left) if projection.transposed else (left, right)
    return _low(LowRank(left.T.contiguous(), right.contiguous()))


def _low(change: LowRank) -> LowRank:
    """The same change, its rank no higher than that of a full matrix: many tokens need no room for each."""
    rows, columns = len(change.left), change.right.shape[1]
    if len(change.right) <= min(rows, columns):
        return change
    full, identity = change.dense(), torch.eye(min(rows, columns), device=change.right.device)
    return LowRank(identity, full) if rows < columns else LowRank(full, identity)
