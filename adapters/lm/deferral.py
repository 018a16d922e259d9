"""A small model beside a module, and a gate that decides for each prompt which of the two is heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from .model import Asked


@dataclass(frozen=True, eq=False)
class Deferral:
    """DEFER's adaptor: from the module's input q at a prompt's last token come a gate σ(g · q + c) and a value U q + b.

    Where the gate reaches the threshold, the value stands in place of the module's output at all places of the row:
    its prompt, what follows it, and the decoding steps behind it, which find the decision in `Asked.carried`.
    """

    type: ClassVar[str] = "deferral"
    gate: torch.Tensor
    """g, shape (inputs,), float32."""
    gate_bias: torch.Tensor
    """c, shape (1,)."""
    weight: torch.Tensor
    """U, shape (outputs, inputs), float32."""
    bias: torch.Tensor
    """b, shape (outputs,)."""
    threshold: float = 0.5

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        ends = asked.prompt_ends.to(output.device)
        here = (ends >= 0)[:, None]
        heard, value = self._carried(output, asked)
        if bool(here.any()):
            gate, found = self.said(inputs, ends)
            heard = torch.where(here, gate >= self.threshold, heard)
            value = torch.where(here, found, value)
            asked.carried[self, "heard"], asked.carried[self, "value"] = heard, value
        return torch.where(heard[..., None], value[:, None].to(output.dtype), output)

    def said(self, inputs: torch.Tensor, ends: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gate, shape (rows, 1), and value, shape (rows, outputs), of each row; float32."""
        query = inputs[torch.arange(len(inputs), device=inputs.device), ends.clamp(min=0)].float()
        gate, gate_bias, weight, bias = (t.to(query) for t in (self.gate, self.gate_bias, self.weight, self.bias))
        # A sum over one row alone: the result of a matrix product may depend on how many rows it has.
        return torch.sigmoid((query * gate).sum(1, keepdim=True) + gate_bias), query @ weight.T + bias

    def mixed(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        """What is heard while it learns: both, by the gate's share; differentiable in its tensors."""
        gate, value = self.said(inputs, asked.prompt_ends.to(output.device))
        return (gate * value)[:, None].to(output.dtype) + (1 - gate)[..., None].to(output.dtype) * output

    def _carried(self, output: torch.Tensor, asked: Asked) -> tuple[torch.Tensor, torch.Tensor]:
        heard, value = asked.carried.get((self, "heard")), asked.carried.get((self, "value"))
        if heard is None or value is None:
            rows = len(output)
            return output.new_zeros(rows, 1, dtype=torch.bool), output.new_zeros(rows, output.shape[-1]).float()
        return heard, value

    def scaled(self, strength: float) -> None:
        return None

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"gate": self.gate, "gate_bias": self.gate_bias, "weight": self.weight, "bias": self.bias}

    def options(self) -> dict[str, Any]:
        return {"threshold": self.threshold}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Deferral:
        return cls(**tensors, **options)
