"""The second moment E[x xᵀ] of what goes into projections: which directions of the key space a model uses.

Editors estimate it from Wikipedia. Here it comes from a text file, from a file of moments that a peer made, or from
texts that the model itself samples: a deviation from the papers that needs no corpus, and follows the model's own
distribution. It describes the untouched model, and is refused while a patch is applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ...errors import DataError
from .architecture import linear
from .forward import Tokens, recorded
from .model import LanguageModel
from .moments import read_moments
from .scoring import batches, tokenised

__all__ = ["VERSION", "read_moments", "read_texts", "second_moments"]

VERSION = 1
"""Raised when the same arguments give another result; part of the key of artifacts made from it."""


def second_moments(
    lm: LanguageModel, layers: Sequence[int], role: str, texts: Sequence[Tokens], batch_size: int
) -> dict[int, torch.Tensor]:
    """E[x xᵀ] over all tokens of the texts, by layer, shape (inputs, inputs), float64; one pass for all layers.

    `role`: which projection of a block, see `architecture.linear`. Raises RuntimeError while the model is patched.
    """
    if lm.patched:
        raise RuntimeError("statistics describe the untouched model; compute them in `prepare`")
    projections = {layer: linear(lm.model, layer, role) for layer in layers}
    sums: dict[int, torch.Tensor] = {}
    tokens = 0
    for batch in batches(texts, batch_size):
        rows = [texts[i] for i in batch]
        found = recorded(lm, rows, [p.name for p in projections.values()])
        for layer, projection in projections.items():
            inputs = found[projection.name][0]
            keys = torch.cat([inputs[i, : len(row)] for i, row in enumerate(rows)]).double()
            product = keys.T @ keys
            sums[layer] = sums[layer] + product if layer in sums else product
        tokens += sum(map(len, rows))
    if not tokens:
        raise DataError("there is no text to take statistics of")
    return {layer: total / tokens for layer, total in sums.items()}


def read_texts(lm: LanguageModel, file: Path, samples: int | None, longest: int) -> list[Tokens]:
    """The first `samples` non-empty lines of a file, one document each, cut off after `longest` tokens."""
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text ({error})") from error
    return [tokenised(lm, line)[0][: min(longest, lm.context)] for line in lines[:samples]]
