"""The prompt of a request in several contexts: as it stands, and behind other texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .....errors import Skip
from ...forward import Tokens
from ...generation import sampled
from ...model import LanguageModel
from ...requests import EditRequest
from ...scoring import Row, encode, encode_prompt, subject_last, tokenised

if TYPE_CHECKING:
    from .options import Value

CONTEXTS_VERSION = 1
"""Raised when the same arguments give other contexts; part of the key of the artifact."""

TOP_K = 5
"""Continuations are sampled from so many of the most probable tokens, as the peers' are."""


@dataclass(frozen=True)
class Filled:
    """A request, tokenised."""

    rows: tuple[Row, ...]
    """Prompt and new target in each context, the bare prompt first."""
    subject: tuple[int, ...]
    """Place of the subject's last token in each row."""
    essence: tuple[int, ...]
    """A text about the subject, at which the model shall go on saying what it says; see `Value.kl_prompt`."""
    essence_subject: int
    """Place of the subject's last token in it."""


def fill(lm: LanguageModel, request: EditRequest, templates: Sequence[str], kl_prompt: str) -> Filled:
    """Put a request into templates; the first of them must be the bare prompt. Raises Unusable."""
    prompts = [t.replace("{}", request.prompt) for t in templates]
    essence = kl_prompt.replace("{}", request.subject)
    return Filled(
        tuple(encode(lm, prompt, request.target_new) for prompt in prompts),
        tuple(subject_last(lm, prompt, request.subject) for prompt in prompts),
        encode_prompt(lm, essence),
        subject_last(lm, essence, request.subject),
    )


def sample_templates(lm: LanguageModel, value: Value, draws: np.ndarray) -> list[str]:
    """Templates that put a text of the model's own before the prompt: for each length, one behind each beginning.

    `draws`: uniform numbers, shape (lengths × beginnings, longest length).
    """
    lengths = [n for n in value.context_lengths for _ in value.context_beginnings]
    starts = [_beginning(lm, words) for _ in value.context_lengths for words in value.context_beginnings]
    texts = sampled(lm, starts, lengths, batch_size=32, top_k=TOP_K, draws=draws)
    whole = [lm.tokenizer.decode([*s, *t], skip_special_tokens=True) for s, t in zip(starts, texts, strict=True)]
    # Braces would be taken for the place of the prompt.
    tidy = [" ".join(text.replace("{", " ").replace("}", " ").split()) for text in whole]
    return [f"{text}{_joint(lm, text)}{{}}" for text in dict.fromkeys(tidy) if text]


def text_start(lm: LanguageModel) -> tuple[int, ...]:
    """The token that begins a text, or that parts two. Raises Skip when the tokenizer has neither."""
    for token in (lm.tokenizer.bos_token_id, lm.tokenizer.eos_token_id):
        if token is not None:
            return (token,)
    raise Skip("the tokenizer has no token that begins a text; give the texts in place of sampling them")


def own_texts(lm: LanguageModel, draws: np.ndarray) -> list[Tokens]:
    """Texts that the model samples from all of its vocabulary. `draws`: uniform numbers, shape (texts, length - 1)."""
    start, (count, more) = text_start(lm), draws.shape
    vocabulary = lm.model.config.get_text_config().vocab_size
    own = sampled(lm, [start] * count, [more] * count, batch_size=64, top_k=vocabulary, draws=draws)
    return [(*start, *text) for text in own]


def _beginning(lm: LanguageModel, words: str) -> tuple[int, ...]:
    """Tokens of the first words, or the token that begins any text where the tokenizer does not know them."""
    ids, _ = tokenised(lm, words)
    return text_start(lm) if not ids or lm.tokenizer.unk_token_id in ids else ids


def _joint(lm: LanguageModel, text: str) -> str:
    """What ends a sentence; a tokenizer of words may know the full stop as a word of its own, or not at all."""
    unknown = lm.tokenizer.unk_token_id
    for joint in (". ", " . "):
        if unknown is None or tokenised(lm, text)[0].count(unknown) == tokenised(lm, text + joint)[0].count(unknown):
            return joint
    return " "
