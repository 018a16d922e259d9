"""The upper blocks of a model, resumed from what the lower ones put out once.

What is optimised at a layer changes nothing below it, so what lies below is computed once, whatever the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from .architecture import blocks
from .forward import Tokens, by_row, padded, replaced, tensor_of
from .model import LanguageModel


@dataclass(frozen=True)
class Lower:
    """What the blocks below `start` put out for some rows."""

    start: int
    """The first block that is computed again; 0 when there is nothing below."""
    output: Any
    """What a block's forward returns: hidden states of shape (rows, longest, width), in some families in a tuple."""


class _Seen(Exception):
    """Ends the pass that records."""


@torch.no_grad()
def lower(lm: LanguageModel, rows: Sequence[Tokens], start: int, prompt_ends: Sequence[int]) -> Lower:
    """Compute the blocks below `start` for these rows, padded at the right."""
    last = blocks(lm.model)[1][max(start - 1, 0)]
    found: list[Any] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        found.append(output)
        raise _Seen

    # First of the hooks: what an inserted module does with the output, it will do again when the pass is resumed.
    handle = last.register_forward_hook(keep, prepend=True)
    try:
        with lm.asking(prompt_ends, [0] * len(rows)):
            lm.model(**padded(rows, lm.device), use_cache=False)
    except _Seen:
        pass
    finally:
        handle.remove()
    return Lower(start, found[0])


@contextmanager
def resumed(lm: LanguageModel, below: Lower, chosen: Sequence[int], longest: int, last: int) -> Iterator[None]:
    """Inside `with`, a pass over the `chosen` rows, padded to `longest`, computes blocks `below.start` to `last` alone.

    Blocks below put out what they did before; blocks above `last` pass their input on, so that the model's own final
    normalisation and head read the hidden states of block `last` (the logit lens, when it is not the last one).
    """
    known = tensor_of(below.output)[torch.tensor(chosen, device=tensor_of(below.output).device), :longest]

    def given(*_: Any, **__: Any) -> Any:
        return replaced(below.output, known)

    def passed(hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        return replaced(below.output, hidden_states)

    with ExitStack() as changed:
        for layer, block in enumerate(blocks(lm.model)[1]):
            if layer < below.start:
                changed.enter_context(_forward(block, given))
            elif layer > last:
                changed.enter_context(_forward(block, passed))
        yield


@contextmanager
def _forward(module: Any, function: Callable[..., Any]) -> Iterator[None]:
    """Another `forward`, inside `with`; one that the module had of its own (accelerate's) is put back."""
    own = vars(module).get("forward")
    module.forward = function
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


@contextmanager
def added(
    lm: LanguageModel, module: str, rows: torch.Tensor, columns: torch.Tensor, vectors: torch.Tensor
) -> Iterator[None]:
    """Inside `with`, `vectors[i]` is added to a module's output at (`rows[i]`, `columns[i]`); differentiable.

    `vectors`: shape (places, width); the batch has as many rows as the largest of `rows` says, and one more.
    """
    count = int(rows.max()) + 1

    def add(_: Any, __: Any, output: Any) -> Any:
        hidden = by_row(tensor_of(output), count)
        places = (rows.to(hidden.device), columns.to(hidden.device))
        change = torch.zeros_like(hidden).index_put(places, vectors.to(hidden))
        return replaced(output, (hidden + change).reshape(tensor_of(output).shape))

    handle = lm.model.get_submodule(module).register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
