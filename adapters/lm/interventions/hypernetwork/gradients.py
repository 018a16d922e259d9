"""The gradient of a weight, token by token; and a change of weights for each row of a batch, made of such tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ...architecture import Linear
from ...forward import by_row
from ...losses import Targets
from ...model import LanguageModel
from ...scoring import Row

HALF_SCALE = 2.0**10
"""What a loss is multiplied by, and its gradients divided by, where float16 would round small gradients to zero."""


@dataclass(frozen=True)
class TokenGradients:
    """What the tokens of some rows add to the gradient of one weight: of a row, the sum of outer(outputs, inputs)."""

    inputs: torch.Tensor
    """What went into the projection, float32, shape (tokens, inputs); the tokens of row 0 first, then those of 1."""
    outputs: torch.Tensor
    """Gradient of the row's own loss at what came out, float32, shape (tokens, outputs)."""
    counts: tuple[int, ...]
    """Tokens of each row; those whose input or gradient is zero are left out."""


def token_gradients(
    lm: LanguageModel, rows: Sequence[Row], projections: Sequence[Linear]
) -> tuple[list[TokenGradients], list[float]]:
    """For each projection, and each row's loss: the mean negative log-likelihood of its target's tokens, in nats.

    One forward and one backward pass over all rows, on the model as it is now.
    """
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def watch(name: str) -> Any:
        def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            # The graph begins at these zeros: no parameter requires a gradient, and none is to get one.
            zeros = torch.zeros_like(output, requires_grad=True)
            seen[name] = args[0].detach(), zeros
            return output + zeros

        return hook

    with ExitStack() as hooks, torch.enable_grad():
        for projection in projections:
            # First of the hooks, so that it sees the projection's own output and not what stands behind it.
            handle = projection.module.register_forward_hook(watch(projection.name), prepend=True)
            hooks.callback(handle.remove)
        nll = Targets(lm, rows).nll()
        scale = HALF_SCALE if projections[0].module.weight.dtype == torch.float16 else 1.0
        found = torch.autograd.grad(scale * nll.sum(), [seen[p.name][1] for p in projections])
    by_weight = []
    for projection, gradient in zip(projections, found, strict=True):
        inputs = by_row(seen[projection.name][0], len(rows)).float()
        outputs = by_row(gradient, len(rows)).float() / scale
        counted = (inputs != 0).any(-1) & (outputs != 0).any(-1)
        by_weight.append(TokenGradients(inputs[counted], outputs[counted], tuple(counted.sum(1).tolist())))
    return by_weight, nll.tolist()


@dataclass(frozen=True)
class Factors:
    """Changes of one weight, one for each row: of a row, the sum of outer(left, right) over its tokens."""

    left: torch.Tensor
    """Shape (tokens, outputs)."""
    right: torch.Tensor
    """Shape (tokens, inputs)."""
    counts: tuple[int, ...]
    """Tokens of each row."""

    def of_each(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(left, right) of each row."""
        return list(zip(self.left.split(self.counts), self.right.split(self.counts), strict=True))


@contextmanager
def edited(projections: Sequence[Linear], factors: Sequence[Factors], owners: torch.Tensor) -> Iterator[None]:
    """Inside `with`, row i of a batch is computed with the changes of row `owners[i]`; differentiable in them."""
    with ExitStack() as hooks:
        for projection, change in zip(projections, factors, strict=True):
            pairs = change.of_each()
            left, right = (pad_sequence([pair[side] for pair in pairs], batch_first=True)[owners] for side in (0, 1))
            hooks.callback(projection.module.register_forward_hook(_added(left, right), prepend=True).remove)
        yield


def _added(left: torch.Tensor, right: torch.Tensor) -> Any:
    def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        inputs = by_row(args[0], len(left)).float()
        more = inputs @ right.transpose(1, 2) @ left
        return output + more.reshape(output.shape).to(output.dtype)

    return hook
