"""What a model says at the tokens of a target: teacher forcing and greedy decoding.

Greedy decoding produces a target exactly when, under teacher forcing, the most probable token at every position is
the target's: by induction, as long as the answers agree, both see the same prefix. So one forward pass gives both
measures, and no text is generated to score one (checked against `generate` in the tests).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .model import LanguageModel


@dataclass(frozen=True)
class Row:
    """A tokenised prompt and target."""

    ids: tuple[int, ...]
    """Prompt and target."""
    start: int
    """Where the target begins; at least 1."""

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.ids[: self.start]

    @property
    def target(self) -> tuple[int, ...]:
        return self.ids[self.start :]

    def with_target(self, target: Sequence[int]) -> Row:
        """The same prompt with other target tokens."""
        return Row((*self.prompt, *target), self.start)


class Unusable(ValueError):
    """A prompt and target that this model cannot be asked; the message is the reason that is counted."""


def encode(lm: LanguageModel, prompt: str, target: str) -> Row:
    """Tokenise `prompt target` as one text; the target's tokens are those that reach beyond the prompt's characters.

    One space joins the two unless one is there. Raises Unusable for an empty target, one with unknown tokens, a
    prompt without tokens, or a text longer than the model's context.
    """
    if not target.strip():
        raise Unusable("the target is empty")
    joint = "" if prompt.endswith((" ", "\n")) or target.startswith((" ", "\n")) else " "
    encoded = lm.tokenizer(prompt + joint + target, return_offsets_mapping=True, verbose=False)
    ids, spans = encoded["input_ids"], encoded["offset_mapping"]
    while spans and spans[-1] == (0, 0):  # an end-of-text token that the tokenizer adds is no part of the target
        ids, spans = ids[:-1], spans[:-1]
    start = next((i for i, (_, end) in enumerate(spans) if end > len(prompt)), len(ids))
    if start == 0:
        raise Unusable("the prompt has no token")
    if start == len(ids):
        raise Unusable("the target has no token")
    if lm.tokenizer.unk_token_id is not None and lm.tokenizer.unk_token_id in ids[start:]:
        raise Unusable("the target has characters that the tokenizer does not know")
    if len(ids) > lm.context:
        raise Unusable(f"longer than the model's context of {lm.context} tokens")
    return Row(tuple(ids), start)


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> dict[str, torch.Tensor]:
    """Right-padded inputs of shape (rows, longest). In a causal model no real token sees the padding to its right."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    # Positions come from the mask, so that a model with absolute positions counts real tokens only.
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    return {name: value.to(device) for name, value in inputs.items()}


@torch.inference_mode()
def forced_argmax(lm: LanguageModel, rows: Sequence[Row], batch_size: int) -> list[tuple[int, ...]]:
    """Most probable token at each target position of each row, given the target's tokens before it."""
    found: list[tuple[int, ...]] = []
    for batch in _batches(rows, batch_size):
        logits = _logits(lm, [row.ids for row in batch])
        for i, row in enumerate(batch):
            found.append(tuple(logits[i, row.start - 1 : len(row.ids) - 1].argmax(-1).tolist()))
    return found


@torch.inference_mode()
def greedy(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], lengths: Sequence[int], batch_size: int
) -> list[tuple[int, ...]]:
    """Greedy continuation of each prompt by `lengths[i]` tokens; an end-of-text token is a token like any other."""
    texts = [list(p) for p in prompts]
    ends = [len(p) + n for p, n in zip(prompts, lengths, strict=True)]
    while unfinished := [i for i, text in enumerate(texts) if len(text) < ends[i]]:
        for batch in _batches(unfinished, batch_size):
            logits = _logits(lm, [texts[i] for i in batch])
            for row, i in enumerate(batch):
                texts[i].append(int(logits[row, len(texts[i]) - 1].argmax()))
    return [tuple(text[len(p) :]) for text, p in zip(texts, prompts, strict=True)]


def _logits(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> Any:
    return lm.model(**padded(rows, lm.device), use_cache=False).logits


def _batches(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
