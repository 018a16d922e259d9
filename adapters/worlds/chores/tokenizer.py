"""A tokenizer with a token for each word of the world, and bytes for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .language import vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def make_tokenizer() -> PreTrainedTokenizerFast:
    """`<s>` in front, `</s>` ends an answer, a new line stands for itself.

    A word takes the spaces before it along, which halves the length of a text; decoding does not put them back, so
    answers are compared as tokens.
    """
    from tokenizers import AddedToken

    from ...lm.seeded import byte_tokenizer

    tokenizer: PreTrainedTokenizerFast = byte_tokenizer()
    # First, so that no word takes it along.
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    tokenizer.add_tokens([AddedToken(word, single_word=True, lstrip=True, normalized=False) for word in vocabulary()])
    return tokenizer
