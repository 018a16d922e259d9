"""The loop that all fine-tuning shares, and fine-tuning of weights as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from ...architecture import Linear, attention_inputs, linear
from ...losses import Targets
from ...model import LanguageModel
from ...patch import Patch
from ...requests import EditRequest
from ...scoring import Row, batches, encode

if TYPE_CHECKING:
    from .params import Descent, FineTune, Role


def descend(
    spec: Descent,
    lm: LanguageModel,
    rows: Sequence[Row],
    start: int,
    free: Sequence[torch.Tensor],
    changed: Callable[[], dict[str, torch.Tensor] | None] = lambda: None,
    origins: Sequence[torch.Tensor] | None = None,
    max_change: float | None = None,
    penalty: Callable[[], torch.Tensor] | None = None,
    updated: Callable[[int], None] = lambda step: None,
) -> None:
    """Move the tensors `free` until the model says the targets of `rows`.

    `start`: the first block in which anything changes; `changed` gives what is put in place of parameters, a function
    of `free`; `origins`: what each of `free` is a change of, zeros where it stands for itself; `max_change`: bound of
    each number in `free`; `penalty`: what is descended beside the loss, and does not count when it is asked whether to
    stop; `updated` is called behind each update with its number, from 1, while gradients are still there.
    """
    parts = [Targets(lm, [rows[i] for i in batch], start, spec.objective) for batch in batches(rows, spec.batch_size)]
    optimizer = torch.optim.Adam(free, lr=spec.lr)
    for step in range(1, spec.steps + 1):
        optimizer.zero_grad()
        loss = 0.0
        for part in parts:
            share = part.nll(weights=changed()).sum() / len(rows)
            share.backward()
            loss += share.item()
        if loss < spec.stop_loss:
            break
        if penalty is not None:
            penalty().backward()
        if spec.weight_decay:
            # Decay acts on the weight, not on its change, so it is added here and not left to the optimizer.
            for i, tensor in enumerate(free):
                assert tensor.grad is not None
                tensor.grad += spec.weight_decay * (tensor.detach() + (0.0 if origins is None else origins[i].float()))
        optimizer.step()
        if max_change is not None:
            with torch.no_grad():
                for tensor in free:
                    tensor.clamp_(-max_change, max_change)
        updated(step)


def dense_changes(spec: FineTune, lm: LanguageModel, requests: Sequence[EditRequest]) -> Patch:
    """See `FineTune.apply`."""
    weights: dict[str, torch.Tensor] = {}
    for layer in spec.parameters.layers:
        for projection in projections(lm, layer, spec.parameters.module):
            weights |= {f"{projection.name}.{n}": p for n, p in projection.module.named_parameters()}
    rows = [encode(lm, r.prompt, r.target_new) for r in requests]
    deltas = {n: torch.zeros_like(w, dtype=torch.float32, requires_grad=True) for n, w in weights.items()}

    def changed() -> dict[str, torch.Tensor]:
        return {n: (w.float() + deltas[n]).to(w.dtype) for n, w in weights.items()}

    origins, first = list(weights.values()), min(spec.parameters.layers)
    descend(spec, lm, rows, first, list(deltas.values()), changed, origins, spec.max_change)
    return Patch({name: delta.detach() for name, delta in deltas.items()})


def projections(lm: LanguageModel, layer: int, role: Role) -> list[Linear]:
    """The projection of a block that has a role. Raises Skip, ModelError."""
    holder, _, kind = role.partition("_")
    if holder != "attention" or kind == "out":
        return [linear(lm.model, layer, role)]
    found = attention_inputs(lm.model, layer)
    own = [p for p in found if p.name.endswith(f".{kind[0]}_proj")]
    return own or found
