"""A tokenizer that knows the words of a world: one token for each, split at white space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .world import World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SEPARATOR, UNKNOWN = "<eos>", "<unk>"
_MARKS = [".", ",", ":", ";", "?", "note", "question", "answer", "and", "the"]


def vocabulary(world: World) -> dict[str, int]:
    """Word to id; the separator is 0, the unknown word 1, the others follow in alphabetical order."""
    language = world.language
    texts = [*language.alias_templates, *world.aliases.values(), *_MARKS]
    for relation in language.relations.values():
        texts += [*relation.templates, *relation.unseen, *relation.phrases, *relation.inverse]
    for names in (*world.entities.values(), *language.filler.values()):
        texts += names
    words = {word for text in texts for word in text.split() if not word.startswith("{")}
    return {word: index for index, word in enumerate([SEPARATOR, UNKNOWN, *sorted(words)])}


def make_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """A fast tokenizer with character offsets; it pads on the right with the separator and adds no token of its own."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel(vocabulary(world), unk_token=UNKNOWN))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token=SEPARATOR,
        pad_token=SEPARATOR,
        unk_token=UNKNOWN,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
