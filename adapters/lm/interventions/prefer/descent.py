"""The loop of editing by preference; what moves and the log-ratios are those of training on pairs (../tune)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...generation import greedy
from ...model import LanguageModel
from ...patch import Patch
from ...requests import EditRequest
from ...scoring import Row, encode
from ..tune.moving import moving
from ..tune.objectives import dpo, log_probabilities

if TYPE_CHECKING:
    from .....job import Job
    from .params import Prefer


def preferring(spec: Prefer, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> Patch:
    """See `Prefer`."""
    new = [encode(lm, r.prompt, r.target_new) for r in requests]
    old = [_rejected(lm, r, row) for r, row in zip(requests, new, strict=True)]
    parts = [
        [*new[start : start + spec.batch_size], *old[start : start + spec.batch_size]]
        for start in range(0, len(new), spec.batch_size)
    ]
    seed = int(job.rng("prefer", " ".join(r.id for r in requests)).integers(2**63))
    with moving(lm, spec.parameters, seed) as change:
        with torch.no_grad():
            # A fresh adapter changes nothing yet.
            before = [log_probabilities(lm, rows, change) for rows in parts]
        optimizer = torch.optim.Adam(change.free, lr=spec.lr)
        for _ in range(spec.steps):
            optimizer.zero_grad()
            for rows, reference in zip(parts, before, strict=True):
                said = log_probabilities(lm, rows, change)
                better, worse = (said - reference).chunk(2)
                lengths = torch.tensor([len(row.target) for row in rows[: len(better)]], device=said.device)
                nll = -said[: len(better)] / lengths
                losses = (1 - spec.likelihood) * dpo(better, worse, spec.beta) + spec.likelihood * nll
                (losses.sum() / len(new)).backward()
            optimizer.step()
        return change.patch()


def _rejected(lm: LanguageModel, request: EditRequest, row: Row) -> Row:
    if request.target_true is not None:
        return encode(lm, request.prompt, request.target_true)
    return row.with_target(greedy(lm, [row.prompt], [len(row.target)], 1)[0])
