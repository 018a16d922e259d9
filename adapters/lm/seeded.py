"""A tiny Llama with random weights and a byte-level tokenizer, the same on every machine for a given seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..devices import prepared
from .loading import DTYPES
from .model import LanguageModel

if TYPE_CHECKING:
    from ...components import Opening
    from .params import Seeded

SPECIAL = ("<s>", "</s>", "<unk>")


def byte_tokenizer() -> Any:
    """One token a byte, `<s>` in front, `</s>` for padding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )


def open_seeded(source: Seeded, opening: Opening) -> LanguageModel:
    """Build the model. Weights are drawn on the CPU from an explicit generator, whatever the device."""
    from transformers import LlamaConfig, LlamaForCausalLM

    target = prepared(opening.device, opening.threads)
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=source.width,
        intermediate_size=2 * source.width,
        num_hidden_layers=source.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=source.context,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(source.seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # norms stay at one
                # Scale of a trained model's weights: large enough that inputs matter, small enough to be stable.
                parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
    return LanguageModel(model.to(target, DTYPES[opening.dtype]), tokenizer)
