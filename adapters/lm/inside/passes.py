"""Passes over rows whose lower blocks are known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch

from ..architecture import blocks
from ..forward import replaced, tensor_of
from ..graph.values import last_logits
from ..graph.wiring import Wiring
from ..resumed import Lower, resumed

ELEMENTS = 1 << 24
"""Numbers of the largest tensor that is made at once (64 MB in float32)."""


@torch.no_grad()
def outputs(wiring: Wiring, tokens: torch.Tensor) -> tuple[Any, ...]:
    """What each block puts out for tokens of shape (rows, positions), before what an inserted module makes of it."""
    found: list[Any] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        # Cloned: some models add to the stream in place.
        found.append(replaced(output, tensor_of(output).clone()))

    with ExitStack() as hooks:
        for block in blocks(wiring.lm.model)[1]:
            hooks.callback(block.register_forward_hook(keep, prepend=True).remove)
        last_logits(wiring, tokens)
    return tuple(found)


def resumed_logits(
    wiring: Wiring, tokens: torch.Tensor, known: Sequence[Any], start: int, chosen: Sequence[int]
) -> torch.Tensor:
    """Logits at the last position of the `chosen` rows, shape (chosen, vocabulary), float32; differentiable.

    Blocks below `start` put out what is `known` (`outputs`) of these rows. tokens: shape (rows, positions).
    """
    below = Lower(start, known[max(start - 1, 0)])
    with resumed(wiring.lm, below, chosen, tokens.shape[1], wiring.graph.layers - 1):
        return last_logits(wiring, tokens[torch.tensor(chosen, device=tokens.device)])
