"""A linear map in front of the output embeddings, trained in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...architecture import final_norm, head
from ...forward import recorded
from ...model import LanguageModel
from ...patch import Patch
from ...requests import EditRequest
from ...scoring import Row, batches, encode_ended
from ...steering import Mapped
from .directions import drawn

if TYPE_CHECKING:
    from .....job import Job
    from .params import LmSteer

_START = 0.01
"""Standard deviation of the map's first values."""


def mapped(spec: LmSteer, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> Patch:
    """See `LmSteer`. The body of the model does not move, so its hidden states are computed once."""
    pairs = drawn(spec, lm, requests, job)
    name, projection = final_norm(lm.model)[0], head(lm.model)[1]
    sides = []
    for value, answers in ((1.0, [r.target_new for r in pairs]), (-1.0, [r.target_true or "" for r in pairs])):
        rows = [encode_ended(lm, r.prompt, answer) for r, answer in zip(pairs, answers, strict=True)]
        sides += [(value, *seen) for seen in _seen(lm, rows, name, spec.forward_batch)]
    width = sides[0][1].shape[-1]
    start = job.rng("lm-steer").normal(0.0, _START, (2, width, spec.rank))
    into, out = (torch.tensor(w, dtype=torch.float32, device=lm.device, requires_grad=True) for w in start)
    weight, bias = projection.weight.float(), projection.bias
    optimizer, draws = torch.optim.Adam([into, out], lr=spec.lr), job.rng("lm-steer-batches")
    size = min(spec.batch_size, len(sides))
    for _ in range(spec.steps):
        chosen = [sides[i] for i in sorted(draws.choice(len(sides), size, replace=False).tolist())]
        hidden = torch.cat([h for _, h, _ in chosen])
        values = torch.cat([torch.full((len(h), 1), v, device=h.device) for v, h, _ in chosen])
        moved = hidden + spec.epsilon * values * ((hidden @ into) @ out.T)
        logits = moved @ weight.T + (0.0 if bias is None else bias.float())
        loss = torch.nn.functional.cross_entropy(logits, torch.cat([t for *_, t in chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Patch(inserts={name: Mapped(into.detach(), out.detach(), spec.epsilon * spec.strength)})


def _seen(lm: LanguageModel, rows: Sequence[Row], name: str, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of each row: hidden states in front of the head where its answer is predicted, and the answer's tokens."""
    found: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(rows)
    for chosen in batches(rows, size):
        hidden = recorded(lm, [rows[i].ids[:-1] for i in chosen], [name], [rows[i].start - 1 for i in chosen])[name][1]
        for place, i in enumerate(chosen):
            target = torch.tensor(rows[i].target, device=lm.device)
            found[i] = hidden[place, list(rows[i].places)].float(), target
    return [pair for pair in found if pair is not None]
