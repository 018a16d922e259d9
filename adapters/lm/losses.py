"""What a model predicts at chosen places of rows, again and again, as quantities that can be descended."""

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


class Predictions:
    """Rows that are asked for again and again, while nothing below block `start` changes."""

    def __init__(
        self,
        lm: LanguageModel,
        inputs: Sequence[Tokens],
        places: Sequence[Sequence[int]],
        prompt_ends: Sequence[int],
        start: int = 0,
    ) -> None:
        self._lm, self._inputs, self._places, self._ends = lm, inputs, places, prompt_ends
        self._below = lower(lm, inputs, start, prompt_ends) if start else None

    def logits(
        self, chosen: Sequence[int] | None = None, weights: dict[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Logits at the places of the chosen rows (of all), in float32, shape (places of all these rows, vocabulary).

        `weights`: tensors to use in place of parameters.
        """
        chosen = range(len(self._inputs)) if chosen is None else chosen
        inputs = [self._inputs[i] for i in chosen]
        places, ends = [self._places[i] for i in chosen], [self._ends[i] for i in chosen]
        if self._below is None:
            return logits_at(self._lm, inputs, places, ends, weights=weights)
        with resumed(self._lm, self._below, chosen, max(map(len, inputs)), len(blocks(self._lm.model)[1]) - 1):
            return logits_at(self._lm, inputs, places, ends, weights=weights)


class Targets:
    """Rows whose targets are asked for again and again, while nothing below block `start` changes."""

    def __init__(
        self, lm: LanguageModel, rows: Sequence[Row], start: int = 0, objective: Objective = "target_tokens"
    ) -> None:
        self._rows, self._objective = rows, objective
        one = objective == "last_token"
        # Nothing is asked of a target's last token: what would follow it is no part of the target.
        inputs: list[Tokens] = [row.prompt if one else row.ids[:-1] for row in rows]
        places = [[row.start - 1] if one else list(row.places) for row in rows]
        self._predictions = Predictions(lm, inputs, places, [row.start - 1 for row in rows], start)

    def nll(self, chosen: Sequence[int] | None = None, weights: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """Mean negative log-likelihood of the target's tokens of each chosen row (of all) in nats, shape (chosen,).

        `weights`: tensors to use in place of parameters.
        """
        chosen = range(len(self._rows)) if chosen is None else chosen
        rows = [self._rows[i] for i in chosen]
        lengths = [len(row.target) for row in rows]
        logits = self._predictions.logits(chosen, weights)
        if self._objective == "last_token":
            logits = logits.repeat_interleave(torch.tensor(lengths, device=logits.device), dim=0)
        targets = torch.tensor([token for row in rows for token in row.target], device=logits.device)
        return mean_of_each(torch.nn.functional.cross_entropy(logits, targets, reduction="none"), lengths)


def mean_of_each(values: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Means of consecutive parts of `values`, (sum of lengths,), by their lengths; shape (parts,)."""
    return torch.stack([part.mean() for part in values.split(list(lengths))])
