"""What a model says at the tokens of a target.

Greedy decoding produces a target exactly when, under teacher forcing, the most probable token at every position is
the target's: by induction, as long as the answers agree, both see the same prefix. So one forward pass gives both
measures, and no text is generated to score one (checked against `generate` in the tests).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from .forward import logits_at
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

    @property
    def places(self) -> range:
        """The positions whose logits speak of the target's tokens."""
        return range(self.start - 1, len(self.ids) - 1)

    def with_target(self, target: Sequence[int]) -> Row:
        """The same prompt with other target tokens."""
        return Row((*self.prompt, *target), self.start)


@dataclass(frozen=True)
class Forced:
    """What the model says along a target, given the target's tokens before each."""

    tokens: tuple[int, ...]
    """The most probable token at each of the target's."""
    nll: float
    """Mean negative log-likelihood of the target's tokens, in nats."""
    nlls: tuple[float, ...] = ()
    """That of each of them."""


class Unusable(ValueError):
    """A prompt and target that this model cannot be asked; the message is the reason that is counted."""


def encode(lm: LanguageModel, prompt: str, target: str) -> Row:
    """Tokenise `prompt target` as one text; the target's tokens are those that reach beyond the prompt's characters.

    One space joins the two unless one is there. Raises Unusable for an empty target, one with unknown tokens, a
    prompt without tokens, or a text longer than the model's context.
    """
    if not target.strip():
        raise Unusable("the target is empty")
    before = as_asked(lm, prompt)
    joint = "" if lm.chat or before.endswith((" ", "\n")) or target.startswith((" ", "\n")) else " "
    ids, spans = tokenised(lm, before + joint + target)
    start = next((i for i, (_, end) in enumerate(spans) if end > len(before)), len(ids))
    if start == 0:
        raise Unusable("the prompt has no token")
    if start == len(ids):
        raise Unusable("the target has no token")
    if lm.tokenizer.unk_token_id is not None and lm.tokenizer.unk_token_id in ids[start:]:
        raise Unusable("the target has characters that the tokenizer does not know")
    if len(ids) > lm.context:
        raise Unusable(f"longer than the model's context of {lm.context} tokens")
    return Row(ids, start)


def encode_ended(lm: LanguageModel, prompt: str, answer: str) -> Row:
    """As `encode`, with the token that ends a text after the answer where the tokenizer has one."""
    row, end = encode(lm, prompt, answer), lm.tokenizer.eos_token_id
    return row if end is None else row.with_target((*row.target, end))


def encode_prompt(lm: LanguageModel, prompt: str) -> tuple[int, ...]:
    """Tokens of a prompt alone. Raises Unusable when there are none, or more than fit."""
    ids, _ = tokenised(lm, as_asked(lm, prompt))
    if not ids:
        raise Unusable("the prompt has no token")
    if len(ids) > lm.context:
        raise Unusable(f"longer than the model's context of {lm.context} tokens")
    return ids


def as_asked(lm: LanguageModel, prompt: str) -> str:
    """The prompt as the model is given it: as it stands, or as a user's turn of the tokenizer's chat template."""
    prompt = lm.prompts.prompt(prompt) if lm.prompts else prompt
    if not lm.chat:
        return prompt
    turn = [{"role": "user", "content": prompt}]
    text: str = lm.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    return text


def tokenised(lm: LanguageModel, text: str) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """Token ids and the characters that each covers; a chat template writes its own special tokens."""
    encoded = lm.tokenizer(text, return_offsets_mapping=True, add_special_tokens=not lm.chat, verbose=False)
    ids, spans = list(encoded["input_ids"]), list(encoded["offset_mapping"])
    # An end-of-text token that the tokenizer adds is no part of the text. A token of the text covers characters.
    while len(spans) > 1 and spans[-1] == (0, 0):
        ids.pop()
        spans.pop()
    return tuple(ids), spans


def single_tokens(lm: LanguageModel, texts: Iterable[str]) -> Iterator[int]:
    """Of those of the texts that are one token, and one that the tokenizer knows, that token."""
    for text in texts:
        ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and ids[0] != lm.tokenizer.unk_token_id:
            yield ids[0]


def subject_last(lm: LanguageModel, prompt: str, subject: str) -> int:
    """Place of the last token of the subject in a prompt: of its last occurrence, as whole words where there is one
    (the Ann of "Ann lives in Annapolis"). Raises Unusable when it is absent."""
    if not subject.strip() or subject not in prompt:
        raise Unusable("the prompt does not contain its subject")
    whole = [m.start() for m in re.finditer(rf"(?<!\w){re.escape(subject)}(?!\w)", prompt)]
    text = as_asked(lm, prompt)
    # A chat template or notes may stand around the prompt.
    begin = max(text.rfind(prompt), 0) + (whole[-1] if whole else prompt.rfind(subject))
    end = begin + len(subject.rstrip())
    _, spans = tokenised(lm, text)
    return max(i for i, (start, stop) in enumerate(spans) if start < end and stop > begin)


@torch.inference_mode()
def forced(
    lm: LanguageModel,
    rows: Sequence[Row],
    batch_size: int,
    owners: Sequence[int] | None = None,
    *,
    texts: bool = False,
) -> list[Forced]:
    """What the model says along each row's target; `owners`: the stacked patch that each row belongs to.

    `texts`: the rows are texts that are read, not prompts that are answered: what decides at the end of a prompt
    (a codebook, a router) decides at the end of the text.
    """
    found: list[Forced | None] = [None] * len(rows)
    for batch in batches(rows, batch_size):
        asked = [rows[i] for i in batch]
        places = [row.places for row in asked]
        logits = logits_at(
            lm,
            [row.ids for row in asked],
            places,
            [len(row.ids) - 1 if texts else row.start - 1 for row in asked],
            [owners[i] for i in batch] if owners else None,
        )
        said = logits.argmax(-1).tolist()
        targets = torch.tensor([t for row in asked for t in row.target], device=logits.device)
        nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        # A model that an edit has broken gives no probabilities; nothing is likely then.
        nll = nll.nan_to_num(nan=math.inf, posinf=math.inf).tolist()
        at = 0
        for i, row in zip(batch, asked, strict=True):
            until = at + len(row.target)
            found[i] = Forced(tuple(said[at:until]), sum(nll[at:until]) / len(row.target), tuple(nll[at:until]))
            at = until
    return [f for f in found if f is not None]


def batches(rows: Sequence[Row] | Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Places of the rows in batches of at most `size`, rows of like lengths together: padding is work for nothing."""
    lengths = [len(row.ids) if isinstance(row, Row) else len(row) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (lengths[i], i))
    for start in range(0, len(order), size):
        yield order[start : start + size]
