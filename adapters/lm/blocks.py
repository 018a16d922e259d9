"""Low-rank blocks of which each prompt uses the one that an index of its hidden state names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from .codebook import nearest
from .model import Asked


@dataclass(frozen=True, eq=False)
class ClusterIndex:
    """Reads a module's output at a prompt's last token; changes nothing. What it names holds for the whole answer.

    If the nearest centre is at most its radius away (Euclidean), the block of that cluster's nearest point is named.
    """

    type: ClassVar[str] = "cluster_index"
    centers: torch.Tensor
    """Shape (clusters, width), float32."""
    radii: torch.Tensor
    """Shape (clusters,), float64, on the CPU; negative where nothing is inside any more."""
    labels: torch.Tensor
    """Token ids of the target that each cluster stands for, shape (clusters, longest), -1 behind the end."""
    points: torch.Tensor
    """Shape (points, width), float32."""
    owners: torch.Tensor
    """The cluster of each point, shape (points,)."""
    blocks: torch.Tensor
    """The block of each point, shape (points,)."""
    name: str
    """Under which each row's block is carried, shape (rows,), -1 for none, from the prompt to what is behind it. Its
    blocks have the same; those of another index, which may stand in the same model, another one."""

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        ends = asked.prompt_ends.to(output.device)
        if bool((ends >= 0).any()):
            queries = output[torch.arange(len(output), device=output.device), ends.clamp(min=0)].float()
            asked.carried[self.name] = torch.where(ends >= 0, self.found(queries), -1)
        return output

    def found(self, queries: torch.Tensor) -> torch.Tensor:
        """The block that each query names, -1 for none; `queries`: shape (rows, width), float32."""
        cluster, distance = nearest(queries, self.centers.to(queries.device))
        near = distance <= self.radii.to(distance)[cluster]
        apart = torch.cdist(queries, self.points.to(queries.device), compute_mode="donot_use_mm_for_euclid_dist")
        others = self.owners.to(queries.device)[None] != cluster[:, None]
        point = apart.masked_fill(others, torch.inf).argmin(1)
        # A cluster may have lost all of its points.
        near &= ~others.gather(1, point[:, None])[:, 0]
        return torch.where(near, self.blocks.to(queries.device)[point], -1)

    def scaled(self, strength: float) -> ClusterIndex:
        return self

    def tensors(self) -> dict[str, torch.Tensor]:
        names = ("centers", "radii", "labels", "points", "owners", "blocks")
        return {name: getattr(self, name) for name in names}

    def options(self) -> dict[str, Any]:
        return {"name": self.name}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> ClusterIndex:
        return cls(**tensors, **options)


@dataclass(frozen=True, eq=False)
class LowRankBlocks:
    """A projection to which each row adds `scale` · B A x, of the block that a `ClusterIndex` below has named."""

    type: ClassVar[str] = "low_rank_blocks"
    into: torch.Tensor
    """A of each block, shape (blocks, rank, inputs), float32."""
    out: torch.Tensor
    """B of each block, shape (blocks, outputs, rank), float32."""
    name: str
    """That of the index."""
    scale: float = 1.0

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
        named = asked.carried.get(self.name)
        if named is None:  # a text without a prompt
            return output
        named = named.to(output.device)
        rows = named >= 0
        if not bool(rows.any()):
            return output
        more = added(inputs, self.into.to(output.device)[named], self.out.to(output.device)[named], self.scale)
        return torch.where(rows[:, None, None], output + more.to(output.dtype), output)

    def scaled(self, strength: float) -> LowRankBlocks:
        return LowRankBlocks(self.into, self.out, self.name, self.scale * strength)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"into": self.into, "out": self.out}

    def options(self) -> dict[str, Any]:
        return {"name": self.name, "scale": self.scale}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> LowRankBlocks:
        return cls(**tensors, **options)


def added(inputs: torch.Tensor, into: torch.Tensor, out: torch.Tensor, scale: float) -> torch.Tensor:
    """`scale` · B A x of each row: `inputs` (rows, positions, inputs), A (rows, rank, inputs), B (rows, outputs, rank);
    float32, shape (rows, positions, outputs)."""
    return scale * (inputs.float() @ into.transpose(1, 2) @ out.transpose(1, 2))
