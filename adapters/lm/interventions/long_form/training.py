"""Training a block until it puts out what is wanted, and what it does at other texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...architecture import block, norms
from ...forward import Tokens, padded, tensor_of
from ...model import LanguageModel
from ...patch import Patch
from ...resumed import lower, resumed
from ...scoring import batches

if TYPE_CHECKING:
    from .params import TrainBlock


class _Seen(Exception):
    """Ends a pass behind the block."""


class Outputs:
    """Rows at whose tokens a block is asked for its output again and again, with other weights each time."""

    def __init__(self, lm: LanguageModel, rows: Sequence[Tokens], layer: int) -> None:
        self._lm, self._rows, self._layer = lm, rows, layer
        self._inputs = padded(rows, lm.device)
        self._ends = [len(row) - 1 for row in rows]
        self._below = lower(lm, rows, layer, self._ends)

    def __call__(self, weights: dict[str, torch.Tensor]) -> torch.Tensor:
        """Shape (real tokens of all rows, width), float32; `weights`: tensors to use in place of parameters."""
        lm, found = self._lm, []

        def keep(_: Any, __: Any, output: Any) -> None:
            found.append(tensor_of(output))
            raise _Seen

        handle = block(lm.model, self._layer)[1].register_forward_hook(keep)
        every, longest = range(len(self._rows)), self._inputs["input_ids"].shape[1]
        try:
            with resumed(lm, self._below, every, longest, self._layer), lm.asking(self._ends, [0] * len(self._rows)):
                torch.func.functional_call(
                    lm.model, weights, args=(), kwargs={**self._inputs, "use_cache": False}, strict=False
                )
        except _Seen:
            pass
        finally:
            handle.remove()
        kept: torch.Tensor = found[0][self._inputs["attention_mask"].bool()].float()
        return kept


def trained(
    spec: TrainBlock,
    lm: LanguageModel,
    rows: Sequence[Tokens],
    missing: Sequence[torch.Tensor],
    others: Sequence[Tokens],
    layer: int,
    batch_size: int,
) -> Patch:
    """The change of a block after which its outputs at `rows` are what they are now + `missing`.

    `missing`: for each row, of shape (its tokens, width). MSE are means over tokens and width; the one over `others` is
    added. See `TrainBlock`.
    """
    name, module = block(lm.model, layer)
    own = {f"{name}.{n}": p for n, p in module.named_parameters()}
    still = tuple(f"{norm}." for norm, _ in norms(lm.model, layer))
    deltas = {n: torch.zeros_like(p, dtype=torch.float32, requires_grad=True) for n, p in own.items()}

    def weights() -> dict[str, torch.Tensor]:
        return {n: (p.float() + deltas[n]).to(p.dtype) for n, p in own.items()}

    parts = []
    for asked in (rows, others):
        for chosen in batches(asked, batch_size):
            outputs = Outputs(lm, [asked[i] for i in chosen], layer)
            with torch.no_grad():
                goal = outputs(weights())
            size = sum(map(len, asked)) * goal.shape[1]
            if asked is rows:
                goal = goal + torch.cat([missing[i] for i in chosen]).to(goal)
            parts.append((outputs, goal, size))
    optimizer = torch.optim.Adam(list(deltas.values()), lr=spec.lr)
    for _ in range(spec.steps):
        optimizer.zero_grad()
        for outputs, goal, size in parts:
            ((outputs(weights()) - goal).square().sum() / size).backward()
        with torch.no_grad():
            for n, delta in deltas.items():
                if not n.startswith(still):
                    # AdamW's decay, of the weight and not of its change.
                    delta -= spec.lr * spec.weight_decay * (own[n].float() + delta)
        optimizer.step()
    return Patch({n: delta.detach() for n, delta in deltas.items()})
