"""Losses of answers under a language model, and what it would say next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from ...errors import ModelError
from ..chat.requests import sendable
from ..lm import scoring
from ..lm.forward import logits_at
from ..lm.model import LanguageModel


@dataclass(frozen=True)
class Window:
    """A piece of a text that is read in one pass: tokens `begin` to `end`, of which those from `first` are scored."""

    begin: int
    first: int
    end: int


@dataclass(frozen=True)
class Loss:
    """What a window costs."""

    mean: float
    """Mean negative log-likelihood of its scored tokens, in nats; nan where none is."""
    tokens: int
    """How many are scored."""


def read(lm: LanguageModel, before: str, answer: str) -> tuple[tuple[int, ...], int]:
    """Tokens of `before` and `answer` as one text, and where the answer's begin: those that reach beyond `before`."""
    ids, spans = scoring.tokenised(lm, before + sendable(answer))
    return ids, next((i for i, (_, end) in enumerate(spans) if end > len(before)), len(ids))


def windows(tokens: int, start: int, window: int, stride: int) -> Iterator[Window]:
    """Windows of at most `window` tokens, one every `stride`, that score each token from `start` on once.

    The first token of a window has nothing before it and is not scored: with a stride below the window it was scored
    in the window before, and only the text's first token is left out. Each other token is read with at least
    `window - stride` tokens before it, or all that there are.
    """
    done = start
    for begin in range(0, tokens, stride):
        end = min(begin + window, tokens)
        first = max(done, begin + 1)
        yield Window(begin, min(first, end), end)
        done = max(done, end)
        if end == tokens:
            return


def losses(
    lm: LanguageModel, texts: Sequence[tuple[Sequence[int], int]], window: int, stride: int, batch_size: int
) -> list[list[Loss]]:
    """Of each text (tokens, and the first that is scored), the losses of its windows; windows of all texts that are
    alike in length share a pass, padded behind their ends, which no token of a causal model sees."""
    pieces = [[_row(ids, piece) for piece in windows(len(ids), start, window, stride)] for ids, start in texts]
    scored = [row for rows in pieces for row in rows if row.target]
    said = iter(scoring.forced(lm, scored, batch_size))
    return [[Loss(next(said).nll if row.target else math.nan, len(row.target)) for row in rows] for rows in pieces]


def _row(ids: Sequence[int], piece: Window) -> scoring.Row:
    return scoring.Row(tuple(ids[piece.begin : piece.end]), piece.first - piece.begin)


def mean_loss(parts: Sequence[Loss]) -> float | None:
    """Mean negative log-likelihood over all tokens in nats; None without a token, or where it is not finite."""
    tokens = sum(part.tokens for part in parts)
    return finite(sum(part.mean * part.tokens for part in parts if part.tokens) / tokens) if tokens else None


def mean_of_windows(parts: Sequence[Loss]) -> float | None:
    """Mean of the windows' means in nats, each counting alike; None without a window, or where it is not finite."""
    return finite(sum(part.mean for part in parts) / len(parts)) if parts else None


def perplexity(loss: float | None) -> float | None:
    """exp(loss), None where that is not a finite number."""
    return None if loss is None or loss > 700 else math.exp(loss)


def finite(value: float) -> float | None:
    """The value, or None for what no file of scores can hold."""
    return value if math.isfinite(value) else None


def reading_length(lm: LanguageModel, wanted: int | None, field: str) -> int:
    """Tokens that are read at once: `wanted`, or the model's context. Raises ModelError for more than the context."""
    if wanted is not None and wanted > lm.context:
        raise ModelError(
            f"{field}: {wanted} tokens do not fit; the model reads {lm.context}. Give at most that, or none"
        )
    return wanted or lm.context


def answer_losses(
    lm: LanguageModel, cases: Sequence[tuple[str, str, str]], most: int, batch_size: int
) -> list[tuple[float, float] | None]:
    """Mean losses in nats of each answer given its prompt, and given what stands before it without a prompt.

    `cases`: (prompt, what stands before the answer without it, answer). Prompt and answer beyond `most` tokens lose
    the answer's end, in both passes. None where a pass leaves no token to score.
    """
    texts: list[tuple[Sequence[int], int]] = []
    for prompt, wrapper, answer in cases:
        given, start = read(lm, scoring.as_asked(lm, prompt) if prompt else "", answer)
        alone, begin = read(lm, wrapper, answer)
        length = max(0, most - start) if len(given) > most else len(alone) - begin
        texts += [(given[:most], max(start, 1)), (alone[: min(begin + length, most)], max(begin, 1))]
    means = [mean_loss(parts) for parts in losses(lm, texts, most, most, batch_size)]
    pairs = zip(means[::2], means[1::2], strict=True)
    return [None if given is None or alone is None else (given, alone) for given, alone in pairs]


def tokens_of_answers(lm: LanguageModel, prompt: str, answers: Sequence[str]) -> list[int]:
    """The one token that each answer is behind a prompt. Raises ModelError when an answer is not one token there, or
    changes the prompt's own."""
    before, _ = read(lm, scoring.as_asked(lm, prompt), "")
    found = []
    for answer in answers:
        ids, _ = scoring.tokenised(lm, scoring.as_asked(lm, prompt) + answer)
        if ids[:-1] != before:
            raise ModelError(
                f"the model's tokenizer does not write {answer!r} as one token of its own behind the prompt; "
                "end the prompt with a line break, or use another model"
            )
        found.append(ids[-1])
    if len(set(found)) < len(answers):
        raise ModelError(f"the model's tokenizer has no token for each of {', '.join(answers)}; use another model")
    return found


@torch.inference_mode()
def next_logprobs(
    lm: LanguageModel, prompts: Sequence[str], answers: Mapping[str, int], batch_size: int
) -> list[dict[str, float] | None]:
    """Log-probabilities, in nats, of answers of one token (by their token) behind each prompt; None for a prompt
    without tokens, or with more than the model reads."""
    told = [read(lm, scoring.as_asked(lm, prompt), "")[0] for prompt in prompts]
    usable = [i for i, ids in enumerate(told) if 0 < len(ids) <= lm.context]
    found: list[dict[str, float] | None] = [None] * len(prompts)
    for batch in scoring.batches([told[i] for i in usable], batch_size):
        rows = [told[usable[b]] for b in batch]
        ends = [len(ids) - 1 for ids in rows]
        logp = logits_at(lm, rows, [[end] for end in ends], ends).log_softmax(-1)[:, list(answers.values())].tolist()
        for b, values in zip(batch, logp, strict=True):
            found[usable[b]] = dict(zip(answers, values, strict=True))
    return found
