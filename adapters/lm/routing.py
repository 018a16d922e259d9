"""A classifier of prompts inside a model, and a change of a projection that its verdict switches on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from .model import Asked

VERDICT = "verdict"
"""Under which the verdicts on the rows are carried, shape (rows,), from the prompt to what is written behind it."""


@dataclass(frozen=True)
class Detector:
    """Reads a module's output at the prompt's last token; changes nothing. Its verdict holds for the whole answer."""

    type: ClassVar[str] = "detector"
    weight: torch.Tensor
    """Shape (width,); harmful where weight · h + bias > 0."""
    bias: torch.Tensor
    """Shape (1,)."""

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        ends = asked.prompt_ends.to(output.device)
        if (ends >= 0).any():
            states = output[torch.arange(len(output), device=output.device), ends.clamp(min=0)].float()
            asked.carried[VERDICT] = (states @ self.weight.to(states) + self.bias.to(states) > 0) & (ends >= 0)
        return output

    def scaled(self, strength: float) -> Detector:
        return self

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight, "bias": self.bias}

    def options(self) -> dict[str, Any]:
        return {}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Detector:
        return cls(**tensors)


@dataclass(frozen=True)
class Switched:
    """A projection with another weight for rows whose prompt a `Detector` below found harmful."""

    type: ClassVar[str] = "switched"
    change: torch.Tensor
    """Of the weight, shape (outputs, inputs)."""
    strength: float = 1.0

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        harmful = asked.carried.get(VERDICT)
        if harmful is None:
            # A text without a prompt.
            return output
        more = self.strength * (inputs.float() @ self.change.to(inputs.device).T).to(output.dtype)
        return torch.where(harmful.to(output.device)[:, None, None], output + more, output)

    def scaled(self, strength: float) -> Switched:
        return replace(self, strength=self.strength * strength)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"change": self.change}

    def options(self) -> dict[str, Any]:
        return {"strength": self.strength}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Switched:
        return cls(**tensors, **options)
