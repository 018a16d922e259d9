"""The classifier, its layer, and the matrix behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from .....errors import Skip
from ...architecture import block, blocks, linear
from ...inserts import Insert
from ...losses import Targets
from ...model import LanguageModel
from ...pairs import usable
from ...patch import Patch
from ...prompts import Around
from ...requests import EditRequest
from ...routing import Detector, Switched
from ...scoring import encode_ended, encode_prompt
from ..dinm.tuning import rowwise
from ..steer.directions import hidden_means

if TYPE_CHECKING:
    from .....job import Job
    from .params import ToxEdit

HELD_OUT = 0.1


def routed(spec: ToxEdit, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> Patch:
    """See `ToxEdit`."""
    around = Around(before=spec.prefix)
    pairs = usable(lm, [_behind(around, request) for request in requests])
    harmful = [encode_prompt(lm, r.prompt) for r in pairs]
    harmless = [encode_prompt(lm, prompt) for r in pairs for prompt, _ in r.keep]
    if not harmless:
        raise Skip("the training split has no harmless prompts, and the method needs some")
    rows, labels = [*harmful, *harmless], [1] * len(harmful) + [0] * len(harmless)
    layers = range(1, len(blocks(lm.model)[1])) if spec.layer == "best" else [spec.layer]
    if not layers:
        raise Skip("the model has one layer, and the method reads what goes into a later one")
    # What goes into block l is what block l - 1 puts out.
    states = hidden_means(
        lm, rows, [range(len(r) - 1, len(r)) for r in rows], [n - 1 for n in layers], spec.forward_batch
    )
    order = job.rng("tox-edit-split").permutation(len(rows))
    found = {n: _machine(states[n - 1], labels, order.tolist(), spec.regularization) for n in layers}
    layer = max(found, key=lambda n: (found[n][1], -n))
    detector = found[layer][0]
    change = _trained(spec, lm, pairs, layer, job)
    inserts: dict[str, Insert] = {
        block(lm.model, layer - 1)[0]: detector,
        linear(lm.model, layer, "mlp_down").name: Switched(change),
    }
    notes = {"layer": layer, "f1": {str(n): f1 for n, (_, f1) in found.items()}}
    return Patch(inserts=inserts, prompts=around if spec.prefix else None, notes=notes)


def _behind(around: Around, request: EditRequest) -> EditRequest:
    kept = tuple((around.prompt(prompt), answer) for prompt, answer in request.keep)
    return replace(request, prompt=around.prompt(request.prompt), keep=kept)


def _machine(
    states: torch.Tensor, labels: Sequence[int], order: Sequence[int], regularization: float
) -> tuple[Detector, float]:
    """The machine fitted to nine tenths of the states, and its F1 on the rest, harmful being positive. Raises Skip."""
    from sklearn.metrics import f1_score
    from sklearn.svm import SVC

    arrays, known = states[list(order)].cpu().numpy(), [labels[i] for i in order]
    fitted = len(known) - max(1, round(HELD_OUT * len(known)))
    if len(set(known[:fitted])) < 2:
        raise Skip("the training split is too small to tell harmful from harmless prompts")
    machine = SVC(kernel="linear", C=regularization, class_weight="balanced").fit(arrays[:fitted], known[:fitted])
    weight = torch.tensor(machine.coef_[0], dtype=torch.float32)
    bias = torch.tensor(machine.intercept_, dtype=torch.float32)
    return Detector(weight, bias), float(f1_score(known[fitted:], machine.predict(arrays[fitted:]), zero_division=0))


def _trained(spec: ToxEdit, lm: LanguageModel, requests: Sequence[EditRequest], layer: int, job: Job) -> torch.Tensor:
    """The change of the layer's value matrix, shape (outputs, inputs)."""
    projection = linear(lm.model, layer, "mlp_down")
    weight = projection.stored(projection.module.weight)
    change = torch.zeros(1, *weight.shape, dtype=torch.float32, device=lm.device, requires_grad=True)
    stored = change.transpose(1, 2) if projection.transposed else change
    optimizer, draws = torch.optim.Adam([change], lr=spec.lr), job.rng("tox-edit-batches")
    size = min(spec.batch_size, len(requests))
    for _ in range(spec.steps):
        chosen = [requests[i] for i in sorted(draws.choice(len(requests), size, replace=False).tolist())]
        rows = [encode_ended(lm, r.prompt, r.target_new) for r in chosen]
        optimizer.zero_grad()
        with rowwise(projection, [stored], torch.zeros(size, dtype=torch.long, device=lm.device)):
            Targets(lm, rows, layer).nll().mean().backward()
        optimizer.step()
    return change.detach()[0]
