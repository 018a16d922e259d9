"""How DEFER's gate and linear layer learn requests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ....architecture import Linear, linear
from ....deferral import Deferral
from ....forward import by_row
from ....model import LanguageModel
from ....patch import Patch
from ....requests import EditRequest
from ....scoring import encode
from ...fine_tune.descent import descend

if TYPE_CHECKING:
    from ......job import Job
    from ... import State
    from .params import Defer


def learned(
    spec: Defer, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job
) -> tuple[Patch, State]:
    """See `Defer.apply`."""
    projection = linear(lm.model, spec.site.layer, spec.site.module)
    begun = untrained(projection, job, lm.device) if state is None else state
    free = {name: tensor.to(lm.device).clone().requires_grad_() for name, tensor in begun.items()}
    rows = [encode(lm, r.prompt, r.target_new) for r in requests]
    with torch.enable_grad(), _mixing(lm, projection, Deferral(**free, threshold=spec.threshold)):
        descend(spec, lm, rows, spec.site.layer, list(free.values()))
    tensors = {name: tensor.detach() for name, tensor in free.items()}
    return Patch(inserts={projection.name: Deferral(**tensors, threshold=spec.threshold)}), tensors


def untrained(projection: Linear, job: Job, device: torch.device) -> dict[str, torch.Tensor]:
    """Uniform draws within ± 1 / √inputs, which is how linear layers begin in PyTorch."""
    outputs, inputs = projection.stored(projection.module.weight).shape
    bound, rng = 1 / math.sqrt(inputs), job.rng("defer")
    shapes = {"gate": (inputs,), "gate_bias": (1,), "weight": (outputs, inputs), "bias": (outputs,)}
    draws = {name: rng.random(shape, dtype="float32") for name, shape in shapes.items()}
    return {name: torch.from_numpy((2 * draw - 1) * bound).float().to(device) for name, draw in draws.items()}


@contextmanager
def _mixing(lm: LanguageModel, projection: Linear, learner: Deferral) -> Iterator[None]:
    """Inside `with`, the projection's output is mixed with what the learner says."""

    def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        assert lm.asked is not None, "the gate needs to know where the prompts end: use forward.py"
        # What was learned earlier may have been at work on `output`: the projection's own is computed again.
        inputs, own = (by_row(t, len(lm.asked.prompt_ends)) for t in (args[0], projection.module.forward(args[0])))
        return learner.mixed(inputs, own, lm.asked).reshape(output.shape)

    handle = projection.module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
