"""The loop: batches of pairs, drawn alike for every method; a step of AdamW on a stage's objective."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...model import LanguageModel
from ...pairs import usable
from ...patch import Patch
from ...requests import EditRequest
from .moving import moving
from .objectives import Batch, loss_of

if TYPE_CHECKING:
    from .....job import Job
    from .params import Stage, Training


def trained(
    spec: Training, lm: LanguageModel, requests: Sequence[EditRequest], stages: Sequence[Stage], job: Job, stream: str
) -> Patch:
    """The change that `stages` make, on the model as it is (a patch may be applied). Raises Skip, Unusable.

    `stream` names the random draws: of the same name, rivals are trained on the same batches.
    """
    pairs = usable(lm, requests)
    seed = int(job.rng(f"{stream}-adapter").integers(2**63))
    losses: list[list[float]] = []
    with moving(lm, spec.parameters, seed) as change:
        for number, stage in enumerate(stages):
            begin = change.values()
            if stage.objective.type == "reroute":
                change.shake(int(job.rng(f"{stream}-noise", str(number)).integers(2**63)))
            optimizer = torch.optim.AdamW(change.free, lr=stage.lr, weight_decay=stage.weight_decay)
            losses.append([])
            for step, chosen in enumerate(_batches(len(pairs), stage, job.rng(f"{stream}-batches", str(number)))):
                batch = Batch(lm, [pairs[i] for i in chosen], step, stage, spec.forward_batch)
                optimizer.zero_grad()
                losses[-1].append(loss_of(batch, change, begin))
                optimizer.step()
                change.decay(stage.lr * stage.weight_decay)
        patch = change.patch()
    return Patch(patch.deltas, notes={"loss": losses, "left_out": len(requests) - len(pairs)})


def _batches(count: int, stage: Stage, rng: np.random.Generator) -> Iterator[list[int]]:
    size = min(stage.batch_size, count)
    for _ in range(stage.steps):
        # In the order in which they are drawn: which of a batch give way to harmless prompts is chance, too.
        yield rng.choice(count, size, replace=False).tolist()
