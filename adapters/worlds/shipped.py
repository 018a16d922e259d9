"""The language models that come with the package, whatever their world."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from ...errors import ModelError, unknown
from .knowledge.folder import CARD, WORLD

WORLDS = ("knowledge", "forbidden")
"""Folders here whose `shipped` folder holds models; each has the rooms making, tokenizer, training, scoring, folder."""
STUDENTS = ("chores",)
"""The same of models that are there to be taught: what they know by then is not scored by itself."""


def shipped_names(*worlds: str) -> list[str]:
    """Names of the models of these worlds, of all when none is named."""
    return sorted(_folders(*worlds))


def shipped(name: str) -> Path:
    """Folder of a shipped model. Raises ModelError that names the known ones."""
    found = _folders()
    if name not in found:
        raise ModelError(unknown("world", name, found))
    return found[name]


def world_of(folder: Path) -> str:
    """Which of `WORLDS` the model in `folder` was trained on. Raises ModelError."""
    try:
        data = json.loads((folder / WORLD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / WORLD}: cannot be read ({error})") from error
    # The knowledge world came first; its files do not say what they are.
    name = data.get("world", "knowledge") if isinstance(data, dict) else None
    if name not in WORLDS:
        raise ModelError(f"{folder / WORLD}: {unknown('world', str(name), WORLDS)}")
    return str(name)


def _folders(*worlds: str) -> dict[str, Path]:
    here = Path(str(files(__package__)))
    homes = [here / world / "shipped" for world in worlds or (*WORLDS, *STUDENTS)]
    return {f.name: f for home in homes if home.is_dir() for f in home.iterdir() if (f / CARD).is_file()}
