"""Direct logit attribution: the stream is a sum, and with the final norm's σ held it makes logits that are sums.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang et al. 2022 (arXiv 2211.00593). What a
source does through other heads and MLPs is not in its share. A soft cap on logits (Gemma 2) comes after these sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..architecture import head
from ..graph.values import Recorded, record
from ..graph.wiring import Wiring


@dataclass(frozen=True)
class Direct:
    """Shares of a difference of logits."""

    sources: torch.Tensor
    """Of each source of `Graph.sources`, shape (rows, sources)."""
    rest: torch.Tensor
    """Of what is no source (positions, biases of output projections, of the final norm and of the head), shape
    (rows,)."""


@dataclass(frozen=True)
class Readout:
    """How a difference of logits is read from the stream at the last position, σ (and mean) held."""

    direction: torch.Tensor
    """Shape (rows, width), float32: the difference is the product with the stream …"""
    constant: torch.Tensor
    """… and this, shape (rows,)."""


def readout(wiring: Wiring, final: torch.Tensor, answers: torch.Tensor, wrongs: torch.Tensor) -> Readout:
    """Mean logit of the answers less that of the wrong ones; final: the stream, shape (rows, width).

    answers, wrongs: token ids, shape (rows, most), filled up with -1.
    """
    norm, module = wiring.final_norm, head(wiring.lm.model)[1]
    _, sigma = norm.split(final)
    contrast = _mean(module.weight, answers) - _mean(module.weight, wrongs)
    constant = contrast.new_zeros(len(contrast))
    if norm.bias is not None:
        constant = constant + contrast @ norm.bias
    if getattr(module, "bias", None) is not None:
        bias = module.bias[:, None]
        constant = constant + (_mean(bias, answers) - _mean(bias, wrongs))[:, 0]
    # u · (x − mean of x) = (u − mean of u) · x.
    return Readout(norm.centre(contrast * norm.gain) / sigma, constant)


@torch.no_grad()
def direct(wiring: Wiring, tokens: torch.Tensor, answers: torch.Tensor, wrongs: torch.Tensor) -> Direct:
    """Shares of mean logit of the answers less that of the wrong ones, after tokens of shape (rows, positions)."""
    seen = record(wiring, tokens)
    return shares(wiring, seen, readout(wiring, seen.streams.final[:, -1], answers, wrongs))


def shares(wiring: Wiring, seen: Recorded, how: Readout) -> Direct:
    """What each source adds at the last position."""
    u, values = how.direction, seen.values
    found = [(values.embedded[:, -1] * u).sum(-1, keepdim=True)]
    rest = how.constant + ((seen.streams.attention[0][:, -1].float() - values.embedded[:, -1]) * u).sum(-1)
    for number, layer in enumerate(wiring.layers):
        read = torch.einsum("hed,bd->bhe", layer.heads, u)
        found += [(values.heads[number][:, -1] * read).sum(-1), (values.mlps[number][:, -1] * u).sum(-1, keepdim=True)]
        if layer.out.module.bias is not None:
            rest = rest + u @ layer.out.module.bias.float()
    return Direct(torch.cat(found, 1), rest)


def _mean(table: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Mean of the rows of a table (vocabulary, width) that tokens of shape (rows, most) name; zero where none is."""
    given = (tokens >= 0)[..., None]
    return (table[tokens.clamp(min=0)].float() * given).sum(1) / given.sum(1).clamp(min=1)
