"""Several changes of a weight as one. `changes`: shape (changes, rows, columns); `weights`: one for each, positive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .params import Merge

PARALLEL = 0.9995
"""Cosine above which `slerp` interpolates along the line: the arc divides by the sine of a vanishing angle."""


def merged(changes: torch.Tensor, weights: Sequence[float], how: Merge) -> torch.Tensor:
    """One change of shape (rows, columns)."""
    if how.rule == "ties":
        return ties(changes, weights, how.density)
    return linear(changes, weights) if how.rule == "linear" else slerp(changes, weights)


def ties(changes: torch.Tensor, weights: Sequence[float], density: float) -> torch.Tensor:
    """TIES (Yadav et al. 2023, arXiv 2306.01708): of each change the share `density` of its entries that are largest in
    magnitude; at each place the sign of the weighted sum (plus when it is zero); of the entries with that sign the
    weighted mean. A place that one change alone has kept therefore keeps its entry."""
    trimmed = torch.stack([_largest(change, density) for change in changes])
    share = _weights(changes, weights)
    sign = torch.where((trimmed * share).sum(0) >= 0, 1.0, -1.0)
    agree = (trimmed.sign() == sign) * share
    total = agree.sum(0)
    return (trimmed * agree).sum(0) / torch.where(total == 0, 1.0, total)


def linear(changes: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """The weighted mean."""
    share = _weights(changes, weights)
    return (changes * share).sum(0) / share.sum()


def slerp(changes: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Spherical interpolation, two at a time in their order, each by its share of the weight so far: along the arc of
    the angle between the two. Of one that is zero, or where they are parallel, along the line."""
    found, total = changes[0], weights[0]
    for change, weight in zip(changes[1:], weights[1:], strict=True):
        total += weight
        found = _arc(found, change, weight / total)
    return found


def _arc(start: torch.Tensor, end: torch.Tensor, at: float) -> torch.Tensor:
    norms = start.norm() * end.norm()
    cosine = float((start * end).sum() / norms) if norms > 0 else 1.0
    if abs(cosine) > PARALLEL:
        return (1 - at) * start + at * end
    angle = torch.arccos(torch.tensor(cosine, dtype=torch.float64))
    first, second = (float(torch.sin(part * angle) / torch.sin(angle)) for part in (1 - at, at))
    return first * start + second * end


def _largest(change: torch.Tensor, density: float) -> torch.Tensor:
    flat = change.flatten()
    kept = flat.abs().topk(int(density * flat.numel())).indices
    return torch.zeros_like(flat).index_copy(0, kept, flat[kept]).view_as(change)


def _weights(changes: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    return torch.tensor(weights, device=changes.device)[:, None, None]
