"""What the nodes of `nodes.py` are among a model's own modules; finding.py finds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from .. import architecture as parts
from ..model import LanguageModel
from .nodes import Graph


@dataclass(frozen=True)
class Norm:
    """A LayerNorm or RMSNorm: gain · (x − mean) / σ + bias, the mean only of a LayerNorm."""

    name: str
    module: Any
    centred: bool
    """Whether the mean is taken away."""
    eps: float
    gain: torch.Tensor
    """Shape (width,), float32."""
    bias: torch.Tensor | None
    """Shape (width,), float32."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """What the module makes of x, of shape (…, width)."""
        out: torch.Tensor = self.module(x)
        return out

    def split(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x normalised, without gain and bias, shape (…, width), and σ, shape (…, 1); in float32."""
        x = self.centre(x.float())
        sigma = (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()
        return x / sigma, sigma

    def centre(self, x: torch.Tensor) -> torch.Tensor:
        """x without its mean, where the norm takes that away."""
        return x - x.mean(-1, keepdim=True) if self.centred else x


@dataclass(frozen=True)
class Projection:
    """The part of a projection that makes queries, keys or values."""

    name: str
    module: Any
    count: int
    """Heads."""
    channels: torch.Tensor
    """Outputs of the module that are these, head after head, shape (heads × head width,)."""
    transposed: bool

    def read(self, output: torch.Tensor) -> torch.Tensor:
        """These heads of the module's output, shape (…, heads, head width)."""
        return output[..., self.channels].unflatten(-1, (self.count, -1))

    def written(self, output: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The module's output with other values of shape (…, heads, head width) for these heads."""
        return output.index_copy(-1, self.channels, values.flatten(-2).to(output))

    @cached_property
    def weight(self) -> torch.Tensor:
        """Shape (heads, head width, width)."""
        weight = self.module.weight.T if self.transposed else self.module.weight
        found: torch.Tensor = weight[self.channels].unflatten(0, (self.count, -1))
        return found

    @cached_property
    def bias(self) -> torch.Tensor:
        """Shape (heads, head width); zero where there is none."""
        bias = self.module.bias
        if bias is None:
            return self.weight.new_zeros(self.weight.shape[:2])
        found: torch.Tensor = bias[self.channels].unflatten(0, (self.count, -1))
        return found


@dataclass(frozen=True)
class Layer:
    """A block."""

    attention_norm: Norm
    mlp_norm: Norm
    projections: Mapping[str, Projection]
    """`q`, `k` and `v`."""
    out: parts.Linear
    """The output projection of attention; its input is what the heads found, head after head."""
    mlp: tuple[str, Any]
    attention_after: Norm | None
    """What attention's output goes through before it is written."""
    mlp_after: Norm | None

    @cached_property
    def heads(self) -> torch.Tensor:
        """What a head's finding is multiplied with to be written, shape (heads, head width, width), float32."""
        count = self.projections["q"].count
        found = self.out.stored(self.out.module.weight).T.float().unflatten(0, (count, -1))
        return found * self.attention_after.gain if self.attention_after else found


@dataclass(frozen=True)
class Wiring:
    """A model and its graph."""

    lm: LanguageModel
    graph: Graph
    embedding: tuple[str, Any]
    """Its output is what `input` writes."""
    layers: tuple[Layer, ...]
    final_norm: Norm

    @property
    def width(self) -> int:
        """Of the stream."""
        return len(self.final_norm.gain)
