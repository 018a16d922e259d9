"""An opened language model: a `Resource` that can prove that it is as it was opened."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from .integrity import State, changes, state_of

if TYPE_CHECKING:
    from .patch import Patch
    from .prompts import Prompts


@dataclass(frozen=True)
class Asked:
    """What the rows of the batch that is being computed are; inserted modules and stacked patches read it."""

    prompt_ends: torch.Tensor
    """Place of the last token of each row's prompt, shape (rows,); counted from the left, padding included."""
    owners: torch.Tensor
    """Number of the patch that each row belongs to, where several are stacked; shape (rows,)."""
    prompt_starts: torch.Tensor | None = None
    """Place of the first token of each row's prompt, shape (rows,), where rows are padded at the left; else None."""
    carried: dict[object, torch.Tensor] = field(default_factory=dict)
    """What inserted modules decided at the prompts, for the steps of the same generation that follow; each writes under
    itself. It is empty at the prompts, and lives as long as their generation: an inserted module is never changed."""


@dataclass
class LanguageModel:
    """A causal language model with its tokenizer, in evaluation mode, no parameter requiring a gradient."""

    model: Any
    """A `transformers` model."""
    tokenizer: Any
    """A fast `transformers` tokenizer (offsets are needed to find a target's tokens)."""
    chat: bool = False
    """Whether a prompt is wrapped in the tokenizer's chat template, as a user's turn."""
    patched: bool = field(default=False, init=False)
    """Whether a patch is applied just now: what describes the untouched model must not be computed then."""
    prompts: Prompts | None = field(default=None, init=False)
    """What a patch that it keeps does with prompts."""
    surrounded: bool = field(default=False, init=False)
    """Whether it keeps inserted modules or a change of prompts, which weights alone do not hold."""
    around: list[Patch] = field(default_factory=list, init=False, repr=False)
    """The patches that it keeps, without their changes of weights; see saving.py."""
    asked: Asked | None = field(default=None, init=False, repr=False)
    _kept: ExitStack = field(default_factory=ExitStack, init=False, repr=False)
    _opened: State = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)
        self._opened = state_of(self.model, self.tokenizer)

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def context(self) -> int:
        """Longest input in tokens."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 2**31)

    @contextmanager
    def asking(
        self,
        prompt_ends: Sequence[int],
        owners: Sequence[int],
        prompt_starts: Sequence[int] | None = None,
        carried: dict[object, torch.Tensor] | None = None,
    ) -> Iterator[None]:
        """Tell inserted modules what the rows of the next forward pass are; see `Asked`."""
        before, device = self.asked, self.device
        self.asked = Asked(
            torch.tensor(prompt_ends, device=device),
            torch.tensor(owners, device=device),
            None if prompt_starts is None else torch.tensor(prompt_starts, device=device),
            {} if carried is None else carried,
        )
        try:
            yield
        finally:
            self.asked = before

    def keep(self, patch: Patch) -> None:
        """Stay changed by a patch, for good: what it does becomes part of the model as it was opened."""
        self._kept.enter_context(patch.applied(self))
        self.prompts = patch.prompts or self.prompts
        if patch.inserts or patch.prompts:
            self.surrounded = True
            self.around.append(patch.around)
        self.patched = False
        self._opened = state_of(self.model, self.tokenizer)

    def verify(self) -> list[str]:
        """See `Resource.verify`: see integrity.py."""
        found, self._opened = changes(self._opened, self.model, self.tokenizer)
        return found + ["a patch is still applied"] * self.patched

    def close(self) -> None:
        """See `Resource.close`."""
        self._kept.close()
        self.model = self.tokenizer = None
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
