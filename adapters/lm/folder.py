"""What can be said of a model's folder without opening it, so that a plan can refuse it."""

from __future__ import annotations

import json
from pathlib import Path

from ...errors import ModelError

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def check_folder(folder: Path, allow_pickle: bool) -> None:
    """Raises ModelError, with the remedy, for a folder that has no usable config, weights or tokenizer."""
    file = folder / "config.json"
    if not file.is_file():
        raise ModelError(f"{folder}: not a model folder (no config.json); expected one in Hugging Face format")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read ({error})") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(f"{file}: names no model_type; expected the configuration of a transformers model")
    if "auto_map" in config:
        raise ModelError(f"{folder}: the model brings its own code (auto_map in config.json), which is never run")
    if not list(folder.glob("*.safetensors")):
        pickles = sorted(f.name for f in folder.glob("*.bin"))
        if not pickles:
            raise ModelError(f"{folder}: has no weights (*.safetensors)")
        if not allow_pickle:
            raise ModelError(
                f"{folder}: has only pickled weights ({pickles[0]}), which can run code when read; convert them to "
                "safetensors, or set `allow_pickle: true` in the model's source if you trust them"
            )
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"{folder}: has no tokenizer (tokenizer.json); save the model's tokenizer there as well")
