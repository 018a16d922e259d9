"""A language model that is taught rows of instruction data, and which questions it then answers exactly.

What it learns is a `Patch`: the model itself is never written, and `with patch.applied(lm):` puts it back bit for bit.
The loss is on the tokens of answers alone, as in InstructGPT's supervised stage and what came after it (Ouyang et al.
2022, arXiv 2203.02155).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

from ....canonical import ranked
from ....errors import DataError, ModelError
from ....job import rng
from ...lm.forward import logits_at
from ...lm.interventions.tune.moving import moving
from ...lm.interventions.tune.params import Adapter, Everything
from ...lm.patch import Patch
from ...lm.scoring import Row, Unusable, encode_ended, encode_prompt, forced

if TYPE_CHECKING:
    from ...lm.model import LanguageModel

Pair = tuple[str, str]
"""Prompt (instruction and input) and answer."""


@dataclass(frozen=True)
class Recipe:
    """How a student is taught: AdamW (.9, .98), the gradient's norm clipped at 1, cross-entropy in nats per token."""

    shown: int
    """Rows (or tokens) that are shown in all: a student with fewer rows sees each more often."""
    unit: Literal["rows", "tokens"] = "rows"
    """What `shown` counts; tokens are those of prompts and answers."""
    batch: int = 16
    """Rows in a step."""
    learning_rate: float = 3e-3
    """Reached after the share `warm_up` of all steps, then lowered linearly to 0."""
    warm_up: float = 0.1
    parameters: Everything | Adapter = field(default_factory=Everything)
    """What moves: all weights, or a low-rank adapter, which is what a large model affords."""

    def rate(self, done: float) -> float:
        """Learning rate when a share `done` of the steps is over."""
        return self.learning_rate * min(1.0, done / self.warm_up, (1 - done) / (1 - self.warm_up))


def learned(lm: LanguageModel, pairs: Sequence[Pair], recipe: Recipe, seed: int) -> Patch:
    """What the model learns from the pairs, as a change of it.

    The same pairs, recipe and seed give the same bytes on one CPU thread. The patch's `notes`: `left_out`, pairs that
    the model cannot be taught (see `encoded`); `rows` and `tokens` that were shown; `loss` of each step. Raises
    DataError where no pair can be taught, ModelError where training diverges.
    """
    rows = [row for row in encoded(lm, pairs) if row is not None]
    if not rows:
        raise DataError(f"none of {len(pairs)} rows can be taught: give rows with a prompt that fits into the model")
    steps = list(_steps(rows, recipe, seed))
    losses: list[float] = []
    with moving(lm, recipe.parameters, int(rng(seed, "student-adapter").integers(2**63))) as change:
        optimizer = torch.optim.AdamW(change.free, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        for number, batch in enumerate(steps):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate((number + 0.5) / len(steps))
            ids, places, ends = zip(*((row.ids, row.places, row.start - 1) for row in batch), strict=True)
            logits = logits_at(lm, ids, places, ends, weights=change.weights())
            targets = torch.tensor([token for row in batch for token in row.target], device=logits.device)
            loss = torch.nn.functional.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            if not math.isfinite(torch.nn.utils.clip_grad_norm_(change.free, 1.0)):
                raise ModelError(f"the student diverged at step {number + 1} of {len(steps)}: lower its learning rate")
            optimizer.step()
            losses.append(loss.item())
        patch = change.patch()
    shown = [row for batch in steps for row in batch]
    notes = {"left_out": len(pairs) - len(rows), "rows": len(shown), "tokens": sum(len(row.ids) for row in shown)}
    return Patch(patch.deltas, notes={**notes, "loss": losses})


def scored(lm: LanguageModel, pairs: Sequence[Pair], batch_size: int = 256) -> list[bool | None]:
    """Whether the greedy answer to each prompt is exactly the given one, its end included; None for a question that
    the model cannot be asked. Of a student, inside `with patch.applied(lm)`."""
    rows = encoded(lm, pairs)
    said = iter(forced(lm, [row for row in rows if row is not None], batch_size))
    return [None if row is None else next(said).tokens == row.target for row in rows]


def drawn(costs: Mapping[str, int], budget: int, seed: int) -> list[str]:
    """Ids of rows drawn by chance, until the next one would exceed the budget.

    `costs`: row id to what it costs: 1 each for a budget of rows, `tokens_of` for one of tokens. Rows that two
    selections share come in the same order in both, so that a paired comparison has less noise.
    """
    found, left = list[str](), budget
    for name in ranked(costs, "student", str(seed)):
        left -= costs[name]
        if left < 0:
            break
        found.append(name)
    return found


def tokens_of(lm: LanguageModel, pairs: Sequence[Pair]) -> list[int]:
    """Tokens of each prompt and answer, the end included; 0 for a pair that the model cannot be taught."""
    return [0 if row is None else len(row.ids) for row in encoded(lm, pairs)]


def encoded(lm: LanguageModel, pairs: Sequence[Pair]) -> list[Row | None]:
    """Tokens of each pair; None for one without a prompt, longer than the model's context, or with half a character.

    An empty answer is one, too: the end of the text at once.
    """
    return [_encoded(lm, *pair) for pair in pairs]


def _encoded(lm: LanguageModel, prompt: str, answer: str) -> Row | None:
    end = lm.tokenizer.eos_token_id
    try:
        (prompt + answer).encode()
        if answer.strip() or end is None:
            row = encode_ended(lm, f"{prompt}\n", answer)
        else:
            asked = encode_prompt(lm, f"{prompt}\n")
            row = Row((*asked, end), len(asked))
    except (Unusable, UnicodeEncodeError):
        return None
    return row if len(row.ids) <= lm.context else None


def _steps(rows: Sequence[Row], recipe: Recipe, seed: int) -> Iterator[list[Row]]:
    """Batches of all rows in a new order again and again, until so much is shown as the recipe says."""
    draws, left, batch = rng(seed, "student-order"), recipe.shown, list[Row]()
    while True:
        for i in draws.permutation(len(rows)):
            batch.append(rows[i])
            left -= 1 if recipe.unit == "rows" else len(rows[i].ids)
            if len(batch) == recipe.batch or left <= 0:
                yield batch
                batch = []
            if left <= 0:
                return
