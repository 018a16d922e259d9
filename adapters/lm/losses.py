"""What a model predicts at chosen places of rows, again and again, as quantities that can be descended."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch

from .architecture import blocks
from .forward import Tokens, logits_at
from .model import LanguageModel
from .prefixes import Prefixes, placed
from .resumed import lower, resumed
from .scoring import Row

Objective = Literal["target_tokens", "last_token"]
"""`target_tokens`: each token of the target given those before it. `last_token`: each at the prompt's last position."""


class Predictions:
    """Rows that are asked for again and again, while nothing below block `start` changes, nor before `cuts[i]`.

    `cuts`: a place in each row, not behind any of its `places`; what stands before it is computed once, and what stands
    behind the last of the places never. They are not for a model that inserted modules stand in; see `prefixes.bare`.
    `last`: the block whose output the head reads, the last one when None.
    """

    def __init__(
        self,
        lm: LanguageModel,
        inputs: Sequence[Tokens],
        places: Sequence[Sequence[int]],
        prompt_ends: Sequence[int],
        start: int = 0,
        cuts: Sequence[int] | None = None,
        last: int | None = None,
    ) -> None:
        self._lm, self._last = lm, len(blocks(lm.model)[1]) - 1 if last is None else last
        self._inputs, self._places, self._ends = inputs, places, prompt_ends
        partly = cuts is not None or last is not None
        self._below = lower(lm, inputs, start, prompt_ends) if start or partly else None
        self._before: Prefixes | None = None
        if cuts is None or self._below is None:
            return
        if any(cuts):
            self._before = Prefixes(lm, inputs, cuts, self._below, self._last)
        columns = [range(cut, max(found) + 1) for cut, found in zip(cuts, places, strict=True)]
        self._below = placed(self._below, columns)
        self._inputs = [row[c.start : c.stop] for row, c in zip(inputs, columns, strict=True)]
        self._places = [[place - cut for place in found] for found, cut in zip(places, cuts, strict=True)]
        self._ends = [end - cut for end, cut in zip(prompt_ends, cuts, strict=True)]

    def logits(
        self, chosen: Sequence[int] | None = None, weights: dict[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Logits at the places of the chosen rows (of all), in float32, shape (places of all these rows, vocabulary).

        `weights`: tensors to use in place of parameters.
        """
        chosen = range(len(self._inputs)) if chosen is None else chosen
        rows = [self._inputs[i] for i in chosen]
        places, ends = [self._places[i] for i in chosen], [self._ends[i] for i in chosen]
        if self._below is None:
            return logits_at(self._lm, rows, places, ends, weights=weights)
        behind = partial(self._before.before, chosen=chosen) if self._before else None
        with resumed(self._lm, self._below, chosen, max(map(len, rows)), self._last):
            return logits_at(self._lm, rows, places, ends, weights=weights, behind=behind)


class Targets:
    """Rows whose targets are asked for again and again, while nothing below block `start` changes.

    `after_prompt`: nor before the last token of each prompt; see `Predictions.cuts`.
    """

    def __init__(
        self,
        lm: LanguageModel,
        rows: Sequence[Row],
        start: int = 0,
        objective: Objective = "target_tokens",
        *,
        after_prompt: bool = False,
    ) -> None:
        self._rows, self._objective = rows, objective
        one = objective == "last_token"
        # Nothing is asked of a target's last token: what would follow it is no part of the target.
        inputs: list[Tokens] = [row.prompt if one else row.ids[:-1] for row in rows]
        places = [[row.start - 1] if one else list(row.places) for row in rows]
        ends = [row.start - 1 for row in rows]
        self._predictions = Predictions(lm, inputs, places, ends, start, ends if after_prompt else None)

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
