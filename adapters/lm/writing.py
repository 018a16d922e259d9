"""Answers that a patched model writes to texts: prompts as the patch puts them, greedy or as the patch chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .decoding import Fixed, chosen
from .generation import greedy
from .model import LanguageModel
from .patch import Patch
from .scoring import as_asked, tokenised


@dataclass(frozen=True)
class Question:
    """What is asked."""

    prompt: str
    opening: str = ""
    """What the answer is made to begin with."""


@dataclass(frozen=True)
class Answer:
    """What was written."""

    text: str
    """Without the opening and without special tokens."""
    tokens: tuple[int, ...]
    cut: int
    """Tokens of the prompt that were cut off at its beginning, since it did not fit."""


def written(
    lm: LanguageModel,
    questions: Sequence[Question],
    patch: Patch,
    length: int,
    batch_size: int,
    owners: Sequence[int] | None = None,
    stop: frozenset[int] = frozenset(),
) -> list[Answer]:
    """At most `length` tokens in answer to each question, up to the end of the text or a token in `stop`;
    deterministic.

    The patch is in force already (`with patch.applied(lm)`). A prompt that leaves no room for `length` tokens loses
    its beginning, but not the token that begins a text. `owners`: which of several stacked patches each question
    belongs to; `patch` is the empty one then.
    """
    how = patch.decoding
    if isinstance(how, Fixed):
        whole = tuple(lm.tokenizer(how.text, add_special_tokens=False)["input_ids"])
        fixed = whole[:length]
        # As written where all of it fits: a tokenizer may not know every character.
        text = how.text if len(whole) <= length else lm.tokenizer.decode(fixed, skip_special_tokens=True).strip()
        return [Answer(text, fixed, 0) for _ in questions]
    befores = ["", *(voice.before for voice in how.voices)] if how else [""]
    asked = [[_tokens(lm, before + patch.prompt(q.prompt), q.opening, length) for before in befores] for q in questions]
    lengths, openings, stop = [length] * len(questions), [one[0][1] for one in asked], stop | frozenset(ends(lm))
    if how:
        found = chosen(lm, how, [[ids for ids, *_ in one] for one in asked], lengths, batch_size, stop, openings)
    else:
        found = greedy(lm, [one[0][0] for one in asked], lengths, batch_size, owners, stop, openings)
    answers = []
    for tokens, one in zip(found, asked, strict=True):
        own = tokens[:-1] if tokens and tokens[-1] in stop else tokens
        answers.append(Answer(lm.tokenizer.decode(own, skip_special_tokens=True).strip(), own, max(c for *_, c in one)))
    return answers


def _tokens(lm: LanguageModel, prompt: str, opening: str, length: int) -> tuple[tuple[int, ...], int, int]:
    """Tokens of prompt and opening, how many belong to the opening, and how many were cut off."""
    before = as_asked(lm, prompt)
    # As an answer is joined to its prompt in scoring.py.
    apart = not opening or lm.chat or before.endswith((" ", "\n")) or opening.startswith((" ", "\n"))
    ids, spans = tokenised(lm, before + ("" if apart else " ") + opening)
    own = sum(1 for _, end in spans if end > len(before)) if opening else 0
    cut = max(0, len(ids) - max(1, lm.context - length))
    begin = int(ids[:1] == (lm.tokenizer.bos_token_id,))
    kept = (*ids[:begin], *ids[begin + cut :])
    # The last token in front of the opening is where the prompt ends, and one has to be left.
    return kept, max(0, min(own, len(kept) - 1)), cut


def ends(lm: LanguageModel) -> Iterator[int]:
    """Tokens that end a text."""
    if lm.tokenizer.eos_token_id is not None:
        yield lm.tokenizer.eos_token_id
    known = getattr(lm.model.generation_config, "eos_token_id", None)
    yield from [known] if isinstance(known, int) else known or []
