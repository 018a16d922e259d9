"""A memory of replaced outputs beside a module, read by how near an input is to a remembered one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from .model import Asked

Replace = Literal["last", "prompt"]
"""Which of a prompt's outputs give way to a value: that of its last token, or all. What follows the prompt is left."""


@dataclass(frozen=True)
class Codebook:
    """Keys, their values and the distances up to which they hold; row i of all four belongs together.

    The input at a prompt's last token is looked up. If it is at most `epsilons[i]` (Euclidean) from the nearest key
    i, `values[i]` replaces the module's output. So what a model says does not depend on how a text is continued, nor
    on the other rows of its batch; decoding steps behind a prompt look nothing up.
    """

    type: ClassVar[str] = "codebook"
    keys: torch.Tensor
    """Shape (entries, width of the input), float32."""
    values: torch.Tensor
    """Shape (entries, width of the output), float32."""
    epsilons: torch.Tensor
    """Shape (entries,), float32."""
    labels: torch.Tensor
    """Token ids of the target that each entry stands for, shape (entries, longest), -1 behind the end."""
    replace: Replace = "last"

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        rows, ends = torch.arange(len(inputs), device=inputs.device), asked.prompt_ends.to(inputs.device)
        queries = inputs[rows, ends.clamp(min=0)]
        near, distance = nearest(queries, self.keys.to(queries.device))
        hit = (ends >= 0) & (distance <= self.epsilons.to(distance.device)[near])
        return written(output, self.values.to(output.device)[near], ends, hit, self.replace)

    def scaled(self, strength: float) -> None:
        return None

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"keys": self.keys, "values": self.values, "epsilons": self.epsilons, "labels": self.labels}

    def options(self) -> dict[str, Any]:
        return {"replace": self.replace}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Codebook:
        return cls(**tensors, **options)


def nearest(queries: torch.Tensor, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Number of the key that is nearest to each query, the first of equals, and its Euclidean distance."""
    # The difference is formed before it is squared: expanding the square loses the digits of small distances.
    distances = torch.cdist(queries.float(), keys, compute_mode="donot_use_mm_for_euclid_dist")
    distance, number = distances.min(dim=1)
    return number, distance


def written(
    output: torch.Tensor, values: torch.Tensor, ends: torch.Tensor, rows: torch.Tensor, replace: Replace
) -> torch.Tensor:
    """`output` with row i's value, `values[i]`, at its place where `rows[i]` is true; all other numbers as they are."""
    positions = torch.arange(output.shape[1], device=output.device)
    chosen = positions == ends[:, None] if replace == "last" else positions <= ends[:, None]
    return torch.where((chosen & rows[:, None])[..., None], values[:, None].to(output.dtype), output)
