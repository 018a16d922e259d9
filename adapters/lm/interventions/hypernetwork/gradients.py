"""The gradient of a weight, token by token; and a change of weights for each row of a batch, made of such tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn.utils.rnn import pad_sequence

from ...architecture import Linear
from ...forward import by_row
from ...losses import Targets
from ...model import LanguageModel
from ...scoring import Row, batches

Which = Literal["moved", "all", "answer"]
"""Tokens that count. `moved`: those whose input and gradient are not zero; `all`: all that stand before the target's
last one; `answer`: those whose logits speak of the target."""

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
    """Tokens of each row that count."""


def token_gradients(
    lm: LanguageModel, rows: Sequence[Row], projections: Sequence[Linear], which: Which = "moved"
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
        counted = (inputs != 0).any(-1) & (outputs != 0).any(-1) if which == "moved" else _places(rows, inputs, which)
        by_weight.append(TokenGradients(inputs[counted], outputs[counted], tuple(counted.sum(1).tolist())))
    return by_weight, nll.tolist()


def _places(rows: Sequence[Row], inputs: torch.Tensor, which: Which) -> torch.Tensor:
    """Which positions count, shape (rows, longest)."""
    chosen = torch.zeros(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
    for i, row in enumerate(rows):
        chosen[i, (row.places.start if which == "answer" else 0) : row.places.stop] = True
    return chosen


def gathered(
    lm: LanguageModel, rows: Sequence[Row], projections: Sequence[Linear], which: Which, batch_size: int
) -> tuple[list[TokenGradients], list[float]]:
    """`token_gradients` of rows that are edited together, `batch_size` in one pass; each weight's as of one row."""
    parts, losses = [], dict[int, float]()
    for batch in batches(rows, batch_size):
        found, nll = token_gradients(lm, [rows[i] for i in batch], projections, which)
        parts.append(found)
        losses |= dict(zip(batch, nll, strict=True))
    joined = []
    for weight in range(len(projections)):
        inputs, outputs = (torch.cat([getattr(p[weight], side) for p in parts]) for side in ("inputs", "outputs"))
        joined.append(TokenGradients(inputs, outputs, (len(inputs),)))
    return joined, [losses[i] for i in range(len(rows))]


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
def edited(
    projections: Sequence[Linear], factors: Sequence[Factors], owners: torch.Tensor, shared: bool = False
) -> Iterator[None]:
    """Inside `with`, row i of a batch is computed with the changes of row `owners[i]`; differentiable in them.

    `shared`: all rows are computed with the one change that there is, of which no copies are made.
    """
    with ExitStack() as hooks:
        for projection, change in zip(projections, factors, strict=True):
            if shared:
                left, right = change.left[None], change.right[None]
            else:
                pairs = change.of_each()
                left, right = (pad_sequence([p[side] for p in pairs], batch_first=True)[owners] for side in (0, 1))
            hook = _added(left, right, len(owners))
            hooks.callback(projection.module.register_forward_hook(hook, prepend=True).remove)
        yield


def _added(left: torch.Tensor, right: torch.Tensor, rows: int) -> Any:
    def hook(_: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        inputs = by_row(args[0], rows).float()
        more = inputs @ right.transpose(1, 2) @ left
        return output + more.reshape(output.shape).to(output.dtype)

    return hook
