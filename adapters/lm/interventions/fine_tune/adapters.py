"""Low-rank adapters, by `peft`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch

from ...architecture import Linear, blocks
from ...model import LanguageModel
from ...patch import LowRank, Patch
from ...requests import EditRequest
from ...scoring import encode
from . import allocation
from .allocation import NAME
from .descent import descend, projections
from .params import AdaLora

if TYPE_CHECKING:
    from .....job import Job
    from .params import Adapted


class Ranked(Protocol):
    """What an adapter is made of."""

    @property
    def rank(self) -> int: ...

    @property
    def alpha(self) -> float: ...


def low_rank_changes(spec: Adapted, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> Patch:
    """See `Adapted.apply`."""
    rows = [encode(lm, r.prompt, r.target_new) for r in requests]
    layers = range(len(blocks(lm.model)[1])) if spec.layers is None else spec.layers
    # A family with one matrix for queries and values gives it twice.
    found = {p.name: p for layer in layers for role in spec.modules for p in projections(lm, layer, role)}
    seed = int(job.rng("lora", " ".join(r.id for r in requests)).integers(2**63))
    with adapted(spec, lm, list(found.values()), seed) as tuner:
        wrapped = {name: lm.model.get_submodule(name) for name in found}
        free = [p for module in wrapped.values() for p in module.parameters() if p.requires_grad]
        more = allocation.demands(spec, tuner, list(wrapped.values())) if isinstance(spec, AdaLora) else {}
        descend(spec, lm, rows, min(layers), free, **more)
        return Patch({p.weight_name: change_of(p, wrapped[p.name]) for p in found.values()})


@contextmanager
def adapted(spec: Ranked, lm: LanguageModel, places: Sequence[Linear], seed: int) -> Iterator[Any]:
    """Inside `with`, the projections carry adapters; afterwards the modules are those that were there before.

    Yields peft's tuner.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    common: dict[str, Any] = {
        "lora_alpha": spec.alpha,
        "lora_dropout": 0.0,
        "target_modules": [p.name for p in places],
        "fan_in_fan_out": places[0].transposed,
    }
    devices = [lm.device] if lm.device.type == "cuda" else []
    # `peft` draws from torch's global generator, which is put back.
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        if isinstance(spec, AdaLora):
            tuner: Any = allocation.tuner(spec, lm.model, common)
        else:
            tuner = LoraModel(lm.model, LoraConfig(r=spec.rank, **common), NAME)
    try:
        for parameter in lm.model.parameters():
            if parameter.requires_grad:
                # Adam's small numbers vanish in half precision.
                parameter.data = parameter.data.float()
        yield tuner
    finally:
        tuner.unload()


def change_of(projection: Linear, module: Any) -> LowRank:
    """The change of a weight as stored: (scaling · B) A, or its transpose; of an AdaLoRA adapter P Λ Q in its place."""
    if hasattr(module, "lora_E"):
        out, into = allocation.factors(module)
    else:
        into = module.lora_A[NAME].weight.detach().float().clone()
        out = module.lora_B[NAME].weight.detach().float() * module.scaling[NAME]
    return LowRank(into.T.contiguous(), out.T.contiguous()) if projection.transposed else LowRank(out, into)
