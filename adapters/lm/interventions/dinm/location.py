"""Which layer tells a safe response from an unsafe one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from ...architecture import blocks, final_norm
from ...forward import Tokens, listening, recorded
from ...model import LanguageModel


@torch.no_grad()
def distances(lm: LanguageModel, safe: Tokens, unsafe: Tokens, how: Literal["raw", "relative"]) -> list[float]:
    """How far apart the hidden states behind each block are, when each response is read alone.

    `raw`: the Euclidean distance of the two blocks of hidden states, the shorter response padded at its end, of all
    positions together (equation 6 of arXiv 2403.14472, as released). As in transformers' list of hidden states, the
    last one is taken behind the final normalisation. `relative`: ‖a − b‖ / ((‖a‖ + ‖b‖) / 2) for the means a and b of
    the hidden states over each response's own tokens, before that normalisation; no padding enters, and depth alone
    does not make it grow.
    """
    holder, modules = blocks(lm.model)
    if how == "relative":
        seen = recorded(lm, [safe, unsafe], [f"{holder}.{layer}" for layer in range(len(modules))])
        means = [
            [hidden[i, : len(response)].float().mean(0) for i, response in enumerate((safe, unsafe))]
            for _, hidden in seen.values()
        ]
        return [float((a - b).norm() / ((a.norm() + b.norm()) / 2)) for a, b in means]
    longest, pad = max(len(safe), len(unsafe)), _padding(lm)
    ids = torch.tensor([[*r, *[pad] * (longest - len(r))] for r in (safe, unsafe)], device=lm.device)
    mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in (safe, unsafe)], device=lm.device)
    names = [*(f"{holder}.{layer}" for layer in range(len(modules) - 1)), final_norm(lm.model)[0]]
    with listening(lm, names) as heard, lm.asking([len(safe) - 1, len(unsafe) - 1], [0, 0]):
        lm.model(input_ids=ids, attention_mask=mask, use_cache=False)
    return [float(torch.dist(*heard[name].float())) for name in names]


def _padding(lm: LanguageModel) -> int:
    """The token that fills up a row; a tokenizer without one has its end of text, or 0, take that place."""
    known = (lm.tokenizer.pad_token_id, lm.tokenizer.eos_token_id)
    return next((int(i) for i in known if i is not None), 0)


def farthest(found: Sequence[float]) -> int:
    """The first layer of the largest distance."""
    return max(range(len(found)), key=lambda layer: found[layer])
