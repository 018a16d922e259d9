"""Small random models of unlike families, each with a tokenizer, made in memory."""

from __future__ import annotations

from typing import Any

import torch

from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.seeded import byte_tokenizer

FAMILIES = (
    *("gpt2", "gptj", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3"),
    *("gemma", "gemma2", "gemma3_text", "phi", "phi3"),
)


def tiny(family: str, seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 2) -> LanguageModel:
    """A small model of a family, with random weights large enough that inputs matter."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = byte_tokenizer()
    common: dict[str, Any] = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4}
    if family == "gpt2":
        sizes = {"n_embd": 32, "n_layer": layers, "n_head": 4, "n_positions": 128}
    elif family == "gptj":
        sizes = {"n_embd": 32, "n_layer": layers, "n_head": 4, "n_positions": 128, "rotary_dim": 4}
    elif family == "opt":
        sizes |= {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 128}
    else:
        sizes |= {"intermediate_size": 64, "max_position_embeddings": 128}
    if family not in ("gpt2", "gptj", "gpt_neox", "opt"):
        sizes |= {"num_key_value_heads": 2}
    if family.startswith(("gemma", "qwen3", "llama", "mistral")):
        sizes |= {"head_dim": 8}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **common, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, parameter.shape[1] ** -0.5)
    return LanguageModel(model.to(dtype), tokenizer)
