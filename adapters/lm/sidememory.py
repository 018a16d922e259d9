"""Changed copies of a weight beside a module, used for the prompts at which they say something else than it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import torch

from .model import Asked

LONG = 100
"""A text of more tokens is known by the one at which the outputs differ most: a mean would hide it."""


@dataclass(frozen=True, eq=False)
class SideMemory:
    """Memories W' of a projection W, as their changes W' - W, each with the distance from which on it is used.

    For each prompt alone, the distance between the outputs of a memory and those of the module is measured over the
    prompt's tokens. Of the memories whose distance is above their threshold the one with the largest is used, for all
    tokens of the row; without one, the module's output is passed on bit for bit. What follows a prompt takes no part
    in the decision: decoding steps find it in `Asked.carried`, and text that has no prompt is left alone.
    """

    type: ClassVar[str] = "side_memory"
    changes: torch.Tensor
    """Shape (memories, outputs, inputs), float32."""
    thresholds: torch.Tensor
    """Shape (memories,), float32."""
    activation: str = ""
    """Distances are taken behind this activation function, by its name in `transformers`; empty for none."""
    _moved: dict[torch.device, torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        chosen = self._chosen(inputs, output, asked)
        passed = output
        for number in chosen.unique().tolist():
            if number >= 0:
                rows = chosen == number
                changed = with_change(inputs[rows], output[rows], self._changes(output.device)[number])
                passed = passed.index_put((rows,), changed.to(output.dtype))
        return passed

    def _chosen(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        """Number of the memory that each row uses, -1 for none; shape (rows,)."""
        ends = asked.prompt_ends.to(output.device)
        before = asked.carried.get(self, torch.full_like(ends, -1))
        if bool((ends < 0).all()):
            return before
        until = int(ends.max()) + 1
        places = torch.arange(until, device=output.device)
        inside = places <= ends[:, None]
        if asked.prompt_starts is not None:
            inside &= places >= asked.prompt_starts.to(output.device)[:, None]
        found = torch.where(ends < 0, before, self.routed(inputs[:, :until], output[:, :until], inside))
        asked.carried[self] = found
        return found

    @torch.no_grad()
    def routed(self, inputs: torch.Tensor, output: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """Number of the memory that each prompt uses, -1 for none; `inside`: its tokens, shape (rows, positions)."""
        changes = self._changes(output.device)
        before = output.float()
        distances = torch.stack(
            [distance(before, with_change(inputs, output, change), inside, self.activation) for change in changes]
        )
        above = distances > self.thresholds.to(distances.device)[:, None]
        largest, number = distances.masked_fill(~above, -1).max(dim=0)
        return torch.where(largest < 0, -1, number)

    def _changes(self, device: torch.device) -> torch.Tensor:
        if device not in self._moved:
            self._moved[device] = self.changes.to(device)
        return self._moved[device]

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"changes": self.changes, "thresholds": self.thresholds}

    def options(self) -> dict[str, Any]:
        return {"activation": self.activation}

    def scaled(self, strength: float) -> None:
        return None

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> SideMemory:
        return cls(**tensors, **options)


def with_change(inputs: torch.Tensor, output: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """A projection's output (rows, positions, outputs) had its weight this change (outputs, inputs); float32."""
    return output.float() + inputs.float() @ change.T


def distance(before: torch.Tensor, after: torch.Tensor, inside: torch.Tensor, activation: str) -> torch.Tensor:
    """How far two outputs of shape (rows, positions, width) are apart at the tokens of each row's text, shape (rows,).

    The mean of the Euclidean distances at the tokens; of a text of more than `LONG`, the largest. `inside`: which
    positions the text has, shape (rows, positions).
    """
    function = activation_function(activation)
    apart = (function(after) - function(before)).norm(dim=-1)
    count = inside.sum(1)
    return torch.where(
        count > LONG, apart.masked_fill(~inside, 0).amax(1), (apart * inside).sum(1) / count.clamp(min=1)
    )


@cache
def activation_function(name: str) -> Any:
    """An activation function by its name in `transformers`; the identity for an empty one."""
    from transformers.activations import ACT2FN

    return ACT2FN[name] if name else torch.nn.Identity()
