"""The recursion of SimIE; see `SimIE`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .....errors import Skip
from ...architecture import Linear
from ...forward import recorded
from ...model import LanguageModel
from ...patch import Delta, Patch, dense
from ...requests import EditRequest
from ...scoring import Unusable, encode
from ..locate_then_edit.spread import as_stored

if TYPE_CHECKING:
    from .....job import Job
    from .. import State
    from .params import SimIE

PARTS = ("origin", "shift", "keys")
"""First words of the names of tensors in the memory: `shift:transformer.h.0.mlp.c_proj.weight`."""


@dataclass
class Weight:
    """What a sequence knows of one weight."""

    origin: torch.Tensor
    """W_0 as it is stored, float32, which holds every smaller type exactly."""
    shift: torch.Tensor
    """D as it is stored, float32."""
    keys: torch.Tensor
    """λ I + Σ K Kᵀ, shape (inputs, inputs), float64: beside many keys, rounding would outweigh a small λ."""


def carried_out(
    spec: SimIE, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job
) -> tuple[Patch, State]:
    """See `SimIE.apply`."""
    weights = _read(state, lm.device)
    total = Patch()
    for request in requests:
        with total.applied(lm), _begun(spec, lm, weights):
            edit = spec.editor.apply(lm, [request], None, job)[0]
            step = _step(spec, lm, request, edit, weights)
        total = total.then(step)
    return total, {f"{part}:{n}": getattr(w, part) for n, w in weights.items() for part in PARTS}


def each_alone(spec: SimIE, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[Patch | Unusable]:
    """See `SimIE.apply_each`."""
    edits = spec.editor.apply_each(lm, requests, job)
    return [
        edit if isinstance(edit, Unusable) else _step(spec, lm, request, edit, {})
        for request, edit in zip(requests, edits, strict=True)
    ]


@contextmanager
def _begun(spec: SimIE, lm: LanguageModel, weights: Mapping[str, Weight]) -> Iterator[None]:
    """Inside `with`, the model on which the editor works; afterwards bit for bit as before."""
    changed = {n: lm.model.get_parameter(n) for n in weights} if spec.start == "untouched" else {}
    now = {name: parameter.detach().clone() for name, parameter in changed.items()}
    try:
        with torch.no_grad():
            for name, parameter in changed.items():
                parameter.copy_(weights[name].origin)
        yield
    finally:
        with torch.no_grad():
            for name, parameter in changed.items():
                parameter.copy_(now[name])


def _step(spec: SimIE, lm: LanguageModel, request: EditRequest, edit: Patch, weights: dict[str, Weight]) -> Patch:
    """D_t - D_{t-1} of every weight that the editor changes; `weights` is moved on. The model is as in `_begun`."""
    projections = [_projection(lm, name) for name in edit.deltas]
    if edit.inserts or edit.prompts or edit.decoding:
        raise Skip(f"SimIE stands around editors of weights, and {spec.editor.type} does not change weights alone")
    row = encode(lm, request.prompt, request.target_new).ids
    inputs = recorded(lm, [row], [p.name for p in projections])
    changes: dict[str, Delta] = {}
    for projection in projections:
        name, k = projection.weight_name, inputs[projection.name][0][0].double()
        known = weights.get(name) or _untouched(spec, projection)
        missing = dense(edit.deltas[name]).to(known.shift)
        if spec.start == "untouched":
            missing = missing - known.shift
        keys = known.keys + k.T @ k
        right = torch.cholesky_solve(k.T, torch.linalg.cholesky(keys)).T
        changes[name] = as_stored(projection, (projection.stored(missing).double() @ k.T, right))
        weights[name] = Weight(known.origin, known.shift + dense(changes[name]), keys)
    return Patch(changes)


def _untouched(spec: SimIE, projection: Linear) -> Weight:
    weight = projection.module.weight.detach()
    count = projection.stored(weight).shape[1]
    origin, keys = weight.float().clone(), spec.ridge * torch.eye(count, dtype=torch.float64, device=weight.device)
    return Weight(origin, torch.zeros_like(weight, dtype=torch.float32), keys)


def _projection(lm: LanguageModel, name: str) -> Linear:
    """The projection that has the weight. Raises Skip for what is no weight of one."""
    module, _, kind = name.rpartition(".")
    found = lm.model.get_submodule(module)
    if kind != "weight" or type(found).__name__ not in ("Linear", "Conv1D"):
        raise Skip(f"SimIE needs an editor that changes weights of projections alone; this one changes {name}")
    return Linear(module, found, transposed=type(found).__name__ == "Conv1D")


def _read(state: State, device: torch.device) -> dict[str, Weight]:
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in (state or {}).items():
        part, _, weight = name.partition(":")
        found.setdefault(weight, {})[part] = tensor.to(device)
    return {weight: Weight(**parts) for weight, parts in found.items()}
