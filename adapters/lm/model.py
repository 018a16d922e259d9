"""An opened language model: a `Resource` that can prove that it is as it was opened."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from typing import Any

import torch

from .integrity import State, changes, state_of


@dataclass
class LanguageModel:
    """A causal language model with its tokenizer, in evaluation mode, no parameter requiring a gradient."""

    model: Any
    """A `transformers` model."""
    tokenizer: Any
    """A fast `transformers` tokenizer (offsets are needed to find a target's tokens)."""
    _opened: State = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)
        self._opened = state_of(self.model, self.tokenizer)

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def context(self) -> int:
        """Longest input in tokens."""
        return int(getattr(self.model.config, "max_position_embeddings", None) or 2**31)

    def verify(self) -> list[str]:
        """See `Resource.verify`: see integrity.py."""
        found, self._opened = changes(self._opened, self.model, self.tokenizer)
        return found

    def close(self) -> None:
        """See `Resource.close`."""
        self.model = self.tokenizer = None
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
