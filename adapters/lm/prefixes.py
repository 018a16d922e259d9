"""The beginnings of rows, computed once where only their ends are to be computed again and again.

In a causal model a change at one token moves nothing at the tokens before it, in no block. All that those are to the
tokens behind them is their keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .architecture import blocks
from .forward import Tokens, only_at, padded, replaced, tensor_of
from .generation import cache_name
from .model import LanguageModel
from .resumed import Lower, resumed

Pair = tuple[torch.Tensor, torch.Tensor]


class Prefixes:
    """Keys and values of the first `cuts[i]` tokens of each row, in the blocks from `below.start` to `last`."""

    def __init__(self, lm: LanguageModel, rows: Sequence[Tokens], cuts: Sequence[int], below: Lower, last: int) -> None:
        """`below`: what the blocks below put out for the whole rows."""
        from transformers import DynamicCache

        self._name, longest, cache = cache_name(lm.model), max(cuts), DynamicCache()
        # Padded at the left, so that distances between tokens are true also for attention to a window.
        inputs = padded([row[:cut] for row, cut in zip(rows, cuts, strict=True)], lm.device, left=True)
        here = placed(below, [range(cut) for cut in cuts], left=True)
        # Nothing is asked of the head, but it wants a place to look at.
        places: list[Sequence[int]] = [[0], *[()] * (len(rows) - 1)]
        with (
            torch.no_grad(),
            lm.asking([-1] * len(rows), [0] * len(rows)),
            resumed(lm, here, range(len(rows)), longest, last),
            only_at(lm, places),
        ):
            lm.model(**inputs, **{self._name: cache}, use_cache=True)
        self._mask = inputs["attention_mask"]
        self._pairs = [self._pair(layer) for layer in [*cache.layers, *[None] * len(blocks(lm.model)[1])][: last + 1]]
        self._chosen: tuple[list[int], torch.Tensor, list[Pair]] | None = None

    def _pair(self, layer: Any) -> Pair:
        """Of a block that is not computed, something of that length: the first one says how long a cache is."""
        if layer is None or layer.keys is None or layer.keys.dim() != 4:
            nothing = torch.zeros(len(self._mask), 1, self._mask.shape[1], 1, device=self._mask.device)
            return nothing, nothing
        # What padding says is multiplied by nothing; it may be no number.
        real = self._mask.bool()[:, None, :, None].to(layer.keys.device)
        return layer.keys.where(real, 0), layer.values.where(real, 0)

    def before(self, inputs: dict[str, Any], chosen: Sequence[int]) -> dict[str, Any]:
        """The `inputs` of a model's forward, made of the ends of the chosen rows, as what follows the beginnings."""
        from transformers import DynamicCache

        if self._chosen is None or self._chosen[0] != list(chosen):
            rows = torch.tensor(chosen, device=self._mask.device)
            pairs = [(keys[rows.to(keys.device)], values[rows.to(keys.device)]) for keys, values in self._pairs]
            self._chosen = list(chosen), self._mask[rows], pairs
        _, mask, pairs = self._chosen
        return inputs | {
            "attention_mask": torch.cat([mask, inputs["attention_mask"]], 1),
            "position_ids": inputs["position_ids"] + mask.sum(1, keepdim=True),
            "use_cache": True,
            self._name: DynamicCache(pairs),
        }


def placed(below: Lower, columns: Sequence[range], left: bool = False) -> Lower:
    """The states of some columns of each row alone, where `padded` would place their tokens."""
    hidden, longest = tensor_of(below.output), max(map(len, columns))
    found = torch.zeros(len(columns), longest, dtype=torch.long)
    for i, of_row in enumerate(columns):
        place = slice(longest - len(of_row), longest) if left else slice(0, len(of_row))
        found[i, place] = torch.arange(of_row.start, of_row.stop)
    rows = torch.arange(len(columns))[:, None].to(hidden.device)
    return Lower(below.start, replaced(below.output, hidden[rows, found.to(hidden.device)]))


def bare(lm: LanguageModel, besides: str = "") -> bool:
    """Whether nothing is inserted into the model that may want to see whole prompts. `besides`: a module of which it is
    known that what stands behind it looks at a prompt's last token alone."""
    hooked = (name for name, module in lm.model.named_modules() if module._forward_hooks and name != besides)
    return not lm.surrounded and not any(hooked)
