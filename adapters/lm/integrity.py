"""Did anything move? A cell must leave a model bit for bit as it found it.

Torch counts in-place writes of a tensor (`_version`). A tensor with the same count and the same memory was not
written through autograd; but `param.data` writes are not counted, so checksums are compared as well: of all elements
for tensors that were touched or have at most SAMPLE elements, of a fixed sample of about SAMPLE for the others.
Beside the tensors: modules, hooks, overridden methods, settings, configuration, tokenizer, and torch's own modes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

import torch

SAMPLE = 1 << 16
"""Elements of a large untouched tensor that are compared."""

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
    modules: dict[str, Any]
    hooks: list[Any]
    settings: dict[str, Any]
    """Plain attributes and overridden methods of modules, configuration, tokenizer, modes of torch."""


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
    step = max(1, flat.numel() // SAMPLE)
    # A step that shares a factor with the width of a row would look at the same few columns of every row.
    while step > 1 and math.gcd(step, tensor.shape[-1]) > 1:
        step += 1
    return checksum(flat[::step])


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


def _hooks(model: Any, parameters: Iterable[torch.Tensor]) -> list[Any]:
    """Every hook of modules, of parameters, and of all modules of the process."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    found = [hook for module in model.modules() for kind in kinds for hook in getattr(module, kind).values()]
    found += [hook for p in parameters for hook in (p._backward_hooks or {}).values()]
    everywhere = torch.nn.modules.module
    return found + [hook for kind in kinds for hook in getattr(everywhere, f"_global{kind}", {}).values()]


def _settings(model: Any, tokenizer: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
        "the configuration": model.config.to_dict(),
    }
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            # Caches that a forward pass keeps are private or say so; a method among the attributes is an override.
            plain = isinstance(value, bool | int | float | str) and not key.startswith("_") and "cache" not in key
            if plain or isinstance(value, FunctionType | MethodType):
                found[f"{name}.{key}" if name else key] = value
    if tokenizer is not None:
        keys = ("padding_side", "truncation_side", "special_tokens_map", "chat_template", "model_max_length")
        found |= {f"the tokenizer's {key}": getattr(tokenizer, key, None) for key in keys}
        found["the tokenizer's size"] = len(tokenizer)
    return found


def state_of(model: Any, tokenizer: Any = None, known: State | None = None) -> State:
    """The state of a model; tensors that were not touched since `known` are not read whole again."""
    tensors, before = _tensors(model), known.tensors if known else {}
    return State(
        {name: _tensor_state(t, before.get(name)) for name, t in tensors.items()},
        dict(model.named_modules()),
        _hooks(model, tensors.values()),
        _settings(model, tokenizer),
    )


def changes(opened: State, model: Any, tokenizer: Any = None) -> tuple[list[str], State]:
    """What differs from `opened`, as sentences, and the state now.

    A tensor that was written and put back bit for bit has not changed, though its count of writes has.
    """
    now = state_of(model, tokenizer, opened)
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
    names = opened.modules.keys() | now.modules.keys()
    exchanged = sorted(n for n in names if opened.modules.get(n) is not now.modules.get(n))
    if exchanged:
        found.append(f"modules were exchanged: {', '.join(exchanged[:3])}")
    if [id(h) for h in opened.hooks] != [id(h) for h in now.hooks]:
        found.append(f"hooks changed, {len(opened.hooks)} before and {len(now.hooks)} now")
    keys = opened.settings.keys() | now.settings.keys()
    found += [f"{key} changed" for key in keys if opened.settings.get(key) != now.settings.get(key)]
    return sorted(found), now
