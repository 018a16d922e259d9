"""Modules that move hidden states: a vector added, a direction taken out, a linear map beside the identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch

from .model import Asked

Where = Literal["all", "answer", "front"]
"""Positions that are moved. `all`: every one. `answer`: from the prompt's last token on, so that every token of the
answer is predicted from a moved state. `front`: the first tokens of the prompt, one vector each."""


@dataclass(frozen=True)
class Added:
    """`strength` · a vector is added to a module's output."""

    type: ClassVar[str] = "added"
    vectors: torch.Tensor
    """Shape (1, width); with `front` (tokens, width)."""
    strength: float
    where: Where

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        vectors = self.strength * self.vectors.to(output)
        if self.where == "all":
            return output + vectors
        places = torch.arange(output.shape[1], device=output.device)
        ends = asked.prompt_ends.to(output.device)[:, None]
        if self.where == "answer":
            # Behind the prompt its end is given as -1: everything is answer.
            return output + vectors * (places >= ends)[..., None].to(output)
        starts = asked.prompt_starts
        offset = places - (starts.to(output.device)[:, None] if starts is not None else 0)
        moved = (offset >= 0) & (offset < len(vectors)) & (places <= ends)
        return output + vectors[offset.clamp(0, len(vectors) - 1)] * moved[..., None].to(output)

    def scaled(self, strength: float) -> Added:
        return replace(self, strength=self.strength * strength)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"vectors": self.vectors}

    def options(self) -> dict[str, Any]:
        return {"strength": self.strength, "where": self.where}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Added:
        return cls(**tensors, **options)


@dataclass(frozen=True)
class Ablated:
    """A direction is taken out of a module's output: h − strength · r rᵀh, for a unit vector r."""

    type: ClassVar[str] = "ablated"
    direction: torch.Tensor
    """Shape (width,), of norm 1."""
    strength: float = 1.0

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        direction = self.direction.to(output)
        return output - self.strength * (output @ direction)[..., None] * direction

    def scaled(self, strength: float) -> Ablated:
        return replace(self, strength=self.strength * strength)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"direction": self.direction}

    def options(self) -> dict[str, Any]:
        return {"strength": self.strength}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Ablated:
        return cls(**tensors, **options)


@dataclass(frozen=True)
class Mapped:
    """h + strength · (h P) Qᵀ at every position; behind the final normalisation, another set of output embeddings."""

    type: ClassVar[str] = "mapped"
    into: torch.Tensor
    """P, shape (width, rank)."""
    out: torch.Tensor
    """Q, shape (width, rank)."""
    strength: float

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        return output + self.strength * (output @ self.into.to(output)) @ self.out.to(output).T

    def scaled(self, strength: float) -> Mapped:
        return replace(self, strength=self.strength * strength)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"into": self.into, "out": self.out}

    def options(self) -> dict[str, Any]:
        return {"strength": self.strength}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Mapped:
        return cls(**tensors, **options)
