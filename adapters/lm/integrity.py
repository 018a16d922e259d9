"""Did anything move? A cell must leave a model bit for bit as it found it.

Torch counts in-place writes of a tensor (`_version`). A tensor with the same count and the same memory was not
written through autograd; but `param.data` writes are not counted, so a checksum of each tensor is compared as well:
exact for tensors that were touched or are small, on a fixed sample of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

SAMPLE = 1 << 16
"""Elements of an untouched tensor that are compared."""

CHUNK = 1 << 22
"""Elements that a checksum works on at a time, to bound its memory."""

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class TensorState:
    """What is compared of a parameter or buffer."""

    version: int
    address: int
    full: int
    sampled: int
    requires_grad: bool
    shape: tuple[int, ...]


@dataclass(frozen=True)
class State:
    """What is compared of a model."""

    tensors: dict[str, TensorState]
    modules: dict[str, int]
    hooks: int
    training: tuple[str, ...]


def checksum(tensor: torch.Tensor) -> int:
    """Sum of the raw bits, each weighted by its odd place, modulo 2**64: a change of any one element changes it."""
    bits = tensor.detach().contiguous().view(_INTEGERS[tensor.element_size()]).flatten()
    total = 0
    for start in range(0, bits.numel(), CHUNK):
        chunk = bits[start : start + CHUNK].to(torch.int64)
        place = torch.arange(2 * start + 1, 2 * (start + chunk.numel()) + 1, 2, device=bits.device)
        total += int((chunk * place).sum())
    return total % 2**64


def _sampled(tensor: torch.Tensor) -> int:
    flat = tensor.detach().flatten()
    return checksum(flat[:: max(1, flat.numel() // SAMPLE)])


def _tensors(model: Any) -> dict[str, torch.Tensor]:
    # Tied weights appear once under each of their names, so that a broken tie is seen too.
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _tensor_state(tensor: torch.Tensor, known: TensorState | None = None) -> TensorState:
    """`known`: an earlier state whose full checksum may be reused when the tensor was not touched."""
    sampled = _sampled(tensor)
    untouched = known is not None and (known.version, known.address, known.sampled) == (
        tensor._version,
        tensor.data_ptr(),
        sampled,
    )
    full = known.full if untouched and known is not None else checksum(tensor)
    return TensorState(tensor._version, tensor.data_ptr(), full, sampled, tensor.requires_grad, tuple(tensor.shape))


def state_of(model: Any, known: State | None = None) -> State:
    """The state of every tensor, module, hook and mode."""
    tensors = known.tensors if known else {}
    modules = dict(model.named_modules())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return State(
        {name: _tensor_state(t, tensors.get(name)) for name, t in _tensors(model).items()},
        {name: id(module) for name, module in modules.items()},
        sum(len(getattr(module, h)) for module in modules.values() for h in hooks),
        tuple(name for name, module in modules.items() if module.training),
    )


def changes(opened: State, model: Any) -> tuple[list[str], State]:
    """What differs from `opened`, as sentences, and the state now.

    A tensor that was written and put back bit for bit has not changed, though its count of writes has.
    """
    now = state_of(model, opened)
    found = [f"{name} is gone" for name in opened.tensors.keys() - now.tensors.keys()]
    found += [f"{name} is new" for name in now.tensors.keys() - opened.tensors.keys()]
    for name in opened.tensors.keys() & now.tensors.keys():
        old, new = opened.tensors[name], now.tensors[name]
        if (old.full, old.shape) != (new.full, new.shape):
            found.append(f"{name} has other values")
        elif old.address != new.address:
            found.append(f"{name} is another tensor")
        if old.requires_grad != new.requires_grad:
            found.append(f"{name} has requires_grad {new.requires_grad}")
    if opened.modules != now.modules:
        names = {n for n, _ in opened.modules.items() ^ now.modules.items()}
        found.append(f"modules were exchanged: {', '.join(sorted(names)[:3])}")
    if opened.hooks != now.hooks:
        found.append(f"{now.hooks - opened.hooks:+d} hooks")
    if opened.training != now.training:
        found.append("the training mode of modules")
    return sorted(found), now
