"""MELO's index while it is written: clusters of points, each with the block that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ....blocks import ClusterIndex
from ....codebook import nearest

SAME = 1e-3
"""Points nearer than this share of the radius are one: numbers of the same text differ so much between batches."""
MARGIN = 1e-5
"""By which the old of two clusters ends before the half-way point, and the new one behind it, as published."""


@dataclass
class Cluster:
    """Points that stand for one target."""

    center: torch.Tensor
    radius: float
    label: tuple[int, ...]
    points: list[torch.Tensor] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)


def admit(clusters: list[Cluster], key: torch.Tensor, label: tuple[int, ...], block: int, radius: float) -> None:
    """Find or make the cluster of a request; see `Melo`."""
    new = Cluster(key, radius, label, [key], [block])
    if clusters:
        numbers, distances = nearest(key[None], torch.stack([c.center for c in clusters]))
        number, distance = int(numbers), float(distances)
        near = clusters[number]
        if distance <= near.radius + radius:
            if near.label == label:
                near.points.append(key)
                near.blocks.append(block)
                near.center = torch.stack(near.points).mean(0)
                # And a little more, so that float noise does not put the furthest point outside.
                near.radius = max(_apart(near.points, near.center)) + SAME * radius
                near.radius = max(near.radius, radius)
                return
            if distance <= SAME * radius:
                clusters[number] = new
                return
            near.radius, new.radius = distance / 2 - MARGIN, distance / 2 + MARGIN
            kept = [i for i, d in enumerate(_apart(near.points, near.center)) if d <= near.radius]
            near.points, near.blocks = [near.points[i] for i in kept], [near.blocks[i] for i in kept]
    clusters.append(new)


def _apart(points: Sequence[torch.Tensor], center: torch.Tensor) -> list[float]:
    found: list[float] = (torch.stack(list(points)) - center).norm(dim=1).tolist() if points else []
    return found


def index_of(clusters: Sequence[Cluster], name: str = "") -> ClusterIndex:
    """What stands behind the module; without a point in it, a cluster names no block. The newest always has one."""
    device = clusters[0].center.device
    longest = max(len(c.label) for c in clusters)
    return ClusterIndex(
        torch.stack([c.center for c in clusters]),
        torch.tensor([c.radius for c in clusters], dtype=torch.float64),
        torch.tensor([[*c.label, *[-1] * (longest - len(c.label))] for c in clusters], device=device),
        torch.stack([p for c in clusters for p in c.points]),
        torch.tensor([i for i, c in enumerate(clusters) for _ in c.points], device=device),
        torch.tensor([b for c in clusters for b in c.blocks], device=device),
        name,
    )


def clusters_of(index: ClusterIndex) -> list[Cluster]:
    """What `index_of` was given."""
    found = [
        Cluster(center, radius, tuple(token for token in label if token >= 0))
        for center, radius, label in zip(index.centers, index.radii.tolist(), index.labels.tolist(), strict=True)
    ]
    for point, owner, block in zip(index.points, index.owners.tolist(), index.blocks.tolist(), strict=True):
        found[owner].points.append(point)
        found[owner].blocks.append(block)
    return found
