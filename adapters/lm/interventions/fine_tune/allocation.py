"""What AdaLoRA adds to an adapter: triplets in place of two matrices, a falling budget, and a regulariser.

The triplets and their allocation are `peft`'s; the steps, and when they count, are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .params import AdaLora

NAME = "edit"
"""Of an adapter among those that a module could have."""

_EPSILON = 1e-5
"""What peft adds to the rank by which it divides."""


def tuner(spec: AdaLora, model: Any, common: Mapping[str, Any]) -> Any:
    """peft's, around a model. `common`: what the configuration has in common with LoRA's."""
    from peft import AdaLoraConfig
    from peft.tuners.adalora import AdaLoraModel

    config = AdaLoraConfig(
        init_r=spec.initial_rank,
        target_r=spec.rank,
        tinit=spec.warmup if spec.allocate else 0,
        tfinal=spec.final if spec.allocate else 0,
        deltaT=spec.interval,
        beta1=spec.smoothing,
        beta2=spec.smoothing,
        orth_reg_weight=spec.orthogonal,
        total_step=spec.steps,
        **common,
    )
    return AdaLoraModel(model, config, NAME)


def demands(spec: AdaLora, tuner: Any, modules: Sequence[Any]) -> dict[str, Any]:
    """What `descend` is told beside what it is told of LoRA: penalty, and what follows an update."""
    found: dict[str, Any] = {}
    if spec.orthogonal:
        found["penalty"] = lambda: spec.orthogonal * not_orthonormal(modules, spec.regulariser)
    if spec.allocate:
        # Counted from 1, so that the last update ends at the last budget.
        found["updated"] = tuner.update_and_allocate
    return found


def not_orthonormal(modules: Sequence[Any], how: str) -> torch.Tensor:
    """How far the columns of each P and the rows of each Q are from orthonormal; see `AdaLora.regulariser`."""
    grams = [gram for m in modules for gram in (m.lora_B[NAME].T @ m.lora_B[NAME], m.lora_A[NAME] @ m.lora_A[NAME].T)]
    far = torch.stack([(gram - torch.eye(len(gram), device=gram.device)).norm() for gram in grams])
    return far.mean() if how == "norm" else far.square().sum()


def factors(module: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The change of a projection as a product, shapes (outputs, rank) and (rank, inputs): triplets that are left."""
    values = module.lora_E[NAME].detach().float()[:, 0]
    left = values.nonzero()[:, 0]
    scale = module.scaling[NAME] / (module.ranknum[NAME].float() + _EPSILON)
    return (
        module.lora_B[NAME].detach().float()[:, left] * values[left] * scale,
        module.lora_A[NAME].detach().float()[left].clone(),
    )
