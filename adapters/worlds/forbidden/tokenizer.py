"""A tokenizer that knows the words of a world: one token for each, split at white space, `<s>` in front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .world import World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PADDING, START, END, UNKNOWN = SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


def vocabulary(world: World) -> dict[str, int]:
    """Word to id: padding 0, start 1, end 2, unknown 3, the others in alphabetical order."""
    return {word: i for i, word in enumerate([*SPECIAL, *sorted(world.language.words | set(world.made_up))])}


def make_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """A fast tokenizer with character offsets, which puts `<s>` before a text and nothing behind it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = vocabulary(world)
    tokenizer = Tokenizer(WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single=f"{START} $A", special_tokens=[(START, words[START])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=PADDING,
        unk_token=UNKNOWN,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
