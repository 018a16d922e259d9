"""Modules that a patch puts behind others: what they do with an output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch

from .blocks import ClusterIndex, LowRankBlocks
from .codebook import Codebook
from .deferral import Deferral
from .model import Asked
from .routing import Detector, Switched
from .sidememory import SideMemory
from .steering import Ablated, Added, Mapped


class Insert(Protocol):
    """What stands behind a module. A value: it is never changed, a later patch brings another one."""

    type: ClassVar[str]

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        """The output that is passed on; all of shape (rows, positions, width)."""
        ...

    def scaled(self, strength: float) -> Insert | None:
        """The same at a part of its strength; None where it has none."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """What it has learned."""
        ...

    def options(self) -> dict[str, Any]:
        """The rest, as JSON data without a key `type`."""
        ...

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> Insert:
        """What `tensors` and `options` were taken from."""
        ...


INSERTS: dict[str, type[Insert]] = {
    kind.type: kind
    for kind in (
        *(Codebook, SideMemory, Added, Ablated, Mapped, Detector, Switched),
        *(Deferral, ClusterIndex, LowRankBlocks),
    )
}
