"""How unlikely a model finds the targets of rows, as a quantity that can be descended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from .architecture import blocks
from .forward import Tokens, logits_at
from .model import LanguageModel
from .resumed import lower, resumed
from .scoring import Row

Objective = Literal["target_tokens", "last_token"]
"""`target_tokens`: each token of the target given those before it. `last_token`: each at the prompt's last position."""


class Targets:
    """Rows whose targets are asked for again and again, while nothing below block `start` changes."""

    def __init__(
        self, lm: LanguageModel, rows: Sequence[Row], start: int = 0, objective: Objective = "target_tokens"
    ) -> None:
        self._lm, self._rows, self._objective = lm, rows, objective
        # Nothing is asked of a target's last token: what would follow it is no part of the target.
        self._inputs: list[Tokens] = [r.prompt if objective == "last_token" else r.ids[:-1] for r in rows]
        self._below = lower(lm, self._inputs, start, [r.start - 1 for r in rows]) if start else None

    def nll(self, chosen: Sequence[int] | None = None, weights: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """Mean negative log-likelihood of the target's tokens of each chosen row (of all) in nats, shape (chosen,).

        `weights`: tensors to use in place of parameters.
        """
        chosen = range(len(self._rows)) if chosen is None else chosen
        if self._below is None:
            return self._computed(chosen, weights)
        longest = max(len(self._inputs[i]) for i in chosen)
        with resumed(self._lm, self._below, chosen, longest, len(blocks(self._lm.model)[1]) - 1):
            return self._computed(chosen, weights)

    def _computed(self, chosen: Sequence[int], weights: dict[str, torch.Tensor] | None) -> torch.Tensor:
        rows = [self._rows[i] for i in chosen]
        ends = [row.start - 1 for row in rows]
        one = self._objective == "last_token"
        places = [[row.start - 1] if one else row.places for row in rows]
        logits = logits_at(self._lm, [self._inputs[i] for i in chosen], places, ends, weights=weights)
        lengths = [len(row.target) for row in rows]
        if one:
            logits = logits.repeat_interleave(torch.tensor(lengths, device=logits.device), dim=0)
        targets = torch.tensor([token for row in rows for token in row.target], device=logits.device)
        nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        return torch.stack([part.mean() for part in nll.split(lengths)])
