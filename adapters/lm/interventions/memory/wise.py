"""How side memories are written: shards, and what they are merged into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ...architecture import linear
from ...model import LanguageModel
from ...patch import Patch
from ...requests import EditRequest
from ...sidememory import SideMemory
from .descent import descended, lesson
from .merging import merged
from .texts import Texts

if TYPE_CHECKING:
    from .....job import Job
    from .. import State
    from .params import Wise


@dataclass(frozen=True)
class Memory:
    """A changed copy of the weight."""

    change: torch.Tensor
    """W' - W, shape (outputs, inputs)."""
    least: float = math.inf
    """Smallest distance of the requests that it has learned; infinite before the first."""


@dataclass
class Memories:
    """All that a sequence has learned."""

    current: Memory
    """The shard that requests go to."""
    shards: list[Memory] = field(default_factory=list)
    """Full ones that have not been merged."""
    merged: list[Memory] = field(default_factory=list)
    edits: int = 0
    """Requests so far."""

    def learned(self, spec: Wise, change: torch.Tensor, distance: float) -> None:
        """One more request is in the current shard, which has become `change`."""
        self.current = Memory(change, min(self.current.least, distance))
        self.edits += 1
        if self.edits % spec.save_freq == 0:
            self.shards.append(self.current)
            self.current = Memory(torch.zeros_like(change))
        if self.edits % spec.merge_freq == 0:
            self._merge(spec)

    def _merge(self, spec: Wise) -> None:
        earlier = self.merged if spec.keep == "merge" else []
        parts = [*self.shards, *earlier]
        new = (1 - spec.merge.earlier if earlier else 1.0) / len(self.shards)
        weights = [new] * len(self.shards) + [spec.merge.earlier] * len(earlier)
        change = merged(torch.stack([part.change for part in parts]), weights, spec.merge)
        one = Memory(change, min(part.least for part in parts))
        self.merged = [one] if spec.keep == "merge" else [*self.merged, one]
        self.shards = []

    def insert(self, spec: Wise, activation: str) -> SideMemory:
        """The memories that have learned something, behind the projection."""
        used = [*self.merged, *self.shards, *([self.current] if self.edits % spec.save_freq else [])]
        thresholds = torch.tensor([spec.act_ratio * memory.least for memory in used])
        return SideMemory(torch.stack([memory.change for memory in used]), thresholds, activation)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it, by name."""
        every = [self.current, *self.shards, *self.merged]
        return {
            "changes": torch.stack([memory.change for memory in every]),
            "least": torch.tensor([memory.least for memory in every], dtype=torch.float64),
            "counts": torch.tensor([len(self.shards), len(self.merged), self.edits]),
        }

    @classmethod
    def of(cls, state: State, weight: torch.Tensor) -> Memories:
        """What `tensors` was taken from; an empty memory of the shape of `weight` without it."""
        if state is None:
            return cls(Memory(torch.zeros_like(weight, dtype=torch.float32)))
        changes = state["changes"].to(weight.device)
        current, *full = [Memory(c, v) for c, v in zip(changes, state["least"].tolist(), strict=True)]
        shards, _, edits = state["counts"].tolist()
        return cls(current, full[:shards], full[shards:], edits)


def carried_out(
    spec: Wise, lm: LanguageModel, requests: Sequence[EditRequest], texts: Texts, state: State, job: Job
) -> tuple[Patch, State]:
    """See `Wise.apply`."""
    projection = linear(lm.model, spec.site.layer, spec.site.module)
    memories = Memories.of(state, projection.stored(projection.module.weight))
    activation = activation_of(lm) if spec.distance == "activated" else ""
    for request in requests:
        shard = memories.edits // spec.save_freq
        change = memories.current.change
        draws = job.rng("wise-mask", str(shard)).random(tuple(change.shape), dtype="float32")
        mask = torch.from_numpy(draws).to(change.device) < spec.mask_ratio
        beside = texts.beside(lm, request, spec.irrelevant.each, job)
        task = lesson(lm, texts.rows(lm, request), beside, spec.site.layer)
        learned = descended(spec, lm, projection, task, change, mask, activation)
        memories.learned(spec, learned.change, learned.distances[-1])
    return Patch(inserts={projection.name: memories.insert(spec, activation)}), memories.tensors()


def activation_of(lm: LanguageModel) -> str:
    """Name of the activation function of a model's MLPs, as its configuration gives it."""
    config = lm.model.config.get_text_config()
    names = ("hidden_act", "hidden_activation", "activation_function")
    found: str = next(name for key in names if (name := getattr(config, key, None)))
    return found
