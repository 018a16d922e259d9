"""Model folders in Hugging Face format that also hold their world and a card; and the ones that are shipped.

config.json, model.safetensors (half precision), tokenizer.json, tokenizer_config.json   what transformers reads
world.json                                                                              the facts it was trained on
card.json                                                                               how, for how long, and how well
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import ModelError, unknown
from .world import World, load_world

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from .training import Recipe

WORLD, CARD = "world.json", "card.json"


def shipped_names() -> list[str]:
    """Names of the models that come with the package."""
    folder = _shipped_folder()
    return sorted(f.name for f in folder.iterdir() if (f / CARD).is_file()) if folder.is_dir() else []


def shipped(name: str) -> Path:
    """Folder of a shipped model. Raises ModelError that names the known ones."""
    if name not in shipped_names():
        raise ModelError(unknown("world", name, shipped_names()))
    return _shipped_folder() / name


def _shipped_folder() -> Path:
    return Path(str(files(__package__))) / "shipped"


def read_world(folder: Path) -> World:
    """The world that the model in `folder` was trained on. Raises ModelError."""
    try:
        return load_world(folder / WORLD)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / WORLD}: not a knowledge world ({type(error).__name__}: {error})") from error


def read_card(folder: Path) -> dict[str, Any]:
    """Recipe, scores and cost of the model in `folder`. Raises ModelError."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / CARD}: cannot be read ({error})") from error
    if not isinstance(card, dict):
        raise ModelError(f"{folder / CARD}: not a card")
    return card


def open_model(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Model in single precision and tokenizer of a folder, for scoring. Raises ModelError."""
    from ....artifacts import ArtifactStore, artifact_root
    from ....components import Opening
    from ...lm.loading import open_folder

    opened = open_folder(folder, Opening("cpu", "float32", 1, "", ArtifactStore(artifact_root())))
    return opened.model, opened.tokenizer


def round_to_half(model: PreTrainedModel) -> None:
    """Give every weight, in place, the value that it will have when it was written and read again."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())


def save(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    world: World,
    recipe: Recipe,
    *,
    recipe_name: str,
    cpu_s: float,
    threads: int,
    scores: Mapping[str, float],
) -> None:
    """Write the folder; `model` becomes half precision. `cpu_s` is the CPU time of training in seconds."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _name_class(folder / "tokenizer_config.json")
    world.save(folder / WORLD)
    card = {
        "recipe_name": recipe_name,
        "recipe": asdict(recipe),
        "world_seed": world.seed,
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_s": round(cpu_s),
        "threads": threads,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "scores": {name: round(value, 4) for name, value in scores.items()},
    }
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def _name_class(file: Path) -> None:
    """Name the tokenizer's class as every supported version of transformers knows it; version 5 writes a newer name."""
    config = json.loads(file.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
