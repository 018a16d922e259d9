"""Changes that were trained apart, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ...decoding import Experts as Choice
from ...model import LanguageModel
from ...patch import LowRank, Patch, dense
from ...requests import EditRequest
from .training import trained

if TYPE_CHECKING:
    from .....job import Job
    from .params import Experts, TaskArithmetic


_OPPOSITE = 1e-6
"""Unit rows whose sum is no longer than this are opposite."""


def combined(spec: TaskArithmetic, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> Patch:
    """See `TaskArithmetic`."""
    anti = trained(spec, lm, requests, spec.anti, job, "anti")
    if spec.operation == "negate":
        negated = anti.scaled(-spec.strength)
        assert negated is not None
        return negated
    expert = trained(spec, lm, requests, spec.expert, job, "expert")
    deltas = {}
    for name, delta in expert.deltas.items():
        # A row is an output's weights over the inputs; GPT-2 stores them as columns.
        own, other = dense(delta), dense(anti.deltas[name])
        turned = own.dim() == 2 and type(lm.model.get_submodule(name.rpartition(".")[0])).__name__ == "Conv1D"
        own, other = (own.T, other.T) if turned else (own, other)
        found = own - spec.strength * extracted(own, other)
        deltas[name] = found.T.contiguous() if turned else found
    return Patch(deltas)


def extracted(expert: torch.Tensor, anti: torch.Tensor) -> torch.Tensor:
    """What `anti` has beyond what it shares with `expert`, row by row; see `TaskArithmetic`. Vectors are one row."""
    return anti - (anti * _common(expert, anti)).sum(-1, keepdim=True) * _common(expert, anti)


def _common(expert: torch.Tensor, anti: torch.Tensor) -> torch.Tensor:
    """Unit rows half-way between those of both; zero where a row is zero, or the two are opposite."""
    total = torch.nn.functional.normalize(expert, dim=-1) + torch.nn.functional.normalize(anti, dim=-1)
    both = (expert.norm(dim=-1, keepdim=True) > 0) & (anti.norm(dim=-1, keepdim=True) > 0)
    # Of opposite rows rounding leaves a direction that means nothing.
    return torch.nn.functional.normalize(total, dim=-1) * (both & (total.norm(dim=-1, keepdim=True) > _OPPOSITE))


def experts(spec: Experts, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> Patch:
    """See `Experts`."""
    sides = (
        trained(spec, lm, requests, stages, job, who) for who, stages in (("expert", spec.expert), ("anti", spec.anti))
    )
    expert, anti = (_low_rank(side.deltas) for side in sides)
    return Patch(decoding=Choice(expert, anti, spec.alpha, spec.top_p))


def _low_rank(deltas: Mapping[str, object]) -> dict[str, LowRank]:
    return {name: delta for name, delta in deltas.items() if isinstance(delta, LowRank)}
