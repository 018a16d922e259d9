"""Open a model folder safely: no code from the folder, no pickle unless asked for, no downloads behind one's back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...components import Opening
from ...errors import ModelError
from ..devices import prepared
from .folder import check_folder
from .model import LanguageModel
from .saving import surround

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@contextmanager
def without_bars() -> Iterator[None]:
    """Inside `with`, transformers shows no progress: for the second that a small model takes, a bar would stand in
    everything that is printed."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def open_folder(
    folder: str | Path,
    opening: Opening,
    *,
    allow_pickle: bool = False,
    attention: str | None = None,
    device_map: str | None = None,
    chat: bool = False,
) -> LanguageModel:
    """Load a causal language model and its fast tokenizer from a folder. Raises ModelError with the remedy.

    `attention`: transformers' attention implementation; `device_map`: let accelerate place the layers; `chat`: wrap
    prompts in the tokenizer's chat template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(folder)
    target = prepared(opening.device, opening.threads)
    check_folder(folder, allow_pickle)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with without_bars():
            model, info = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=DTYPES[opening.dtype],
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=not allow_pickle or None,
                attn_implementation=attention,
                device_map=device_map,
                output_loading_info=True,
            )
    # What a damaged folder raises depends on what is damaged; ValueError and KeyError come from configs, RuntimeError
    # from shapes, and safetensors has an exception of its own that derives from Exception alone.
    except Exception as error:
        reason = f"{type(error).__name__}: {_sentence(error)}"
        raise ModelError(f"{folder}: cannot be opened as a causal language model ({reason})") from error
    absent = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if absent:
        # transformers would fill them with random numbers.
        raise ModelError(f"{folder}: the weights lack {len(absent)} tensors, for example {absent[0]}")
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{folder}: has no fast tokenizer (tokenizer.json); character offsets are needed")
    if chat and not tokenizer.chat_template:
        raise ModelError(f"{folder}: its tokenizer has no chat template; leave out `chat_template: own`")
    lm = LanguageModel(model if device_map else model.to(target), tokenizer, chat)
    surround(lm, folder)
    return lm


def _sentence(error: Exception) -> str:
    """The beginning of an error's message, on one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:199]}…"


def hub_commit(repository: str, revision: str) -> str:
    """Commit of a branch or tag: from the local cache, else from the hub. Raises ModelError."""
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_CACHE

    known = Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "refs" / revision
    if known.is_file():
        return known.read_text(encoding="utf-8").strip()
    try:
        return str(HfApi().model_info(repository, revision=revision, timeout=10).sha)
    except Exception as error:
        raise ModelError(_no_hub(repository, error)) from error


def hub_folder(repository: str, commit: str) -> Path:
    """Folder of a repository's files at a commit, downloaded when it is not in the cache. Raises ModelError."""
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.bin"]
    try:
        return Path(snapshot_download(repository, revision=commit, allow_patterns=patterns))
    except Exception as error:
        raise ModelError(_no_hub(repository, error)) from error


def _no_hub(repository: str, error: Exception) -> str:
    return (
        f"model {repository}: not in the local cache, and the hub cannot be asked "
        f"({type(error).__name__}: {_sentence(error)}); "
        "give a folder in Hugging Face format with --model DIR"
    )
