"""Model folders of the forbidden world, laid out as those of the knowledge world (../knowledge/folder.py)."""

from __future__ import annotations

from pathlib import Path

from ....errors import ModelError
from ..knowledge.folder import WORLD
from .world import World, load_world


def read_world(folder: Path) -> World:
    """The world that the model in `folder` was trained on. Raises ModelError."""
    try:
        return load_world(folder / WORLD)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / WORLD}: not a forbidden world ({type(error).__name__}: {error})") from error
