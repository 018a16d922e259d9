"""Models that come with the package. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import field_validator

from ...components import Opening, Source
from ...errors import unknown
from ..lm.params import Local
from .knowledge.folder import shipped, shipped_names

if TYPE_CHECKING:
    from ..lm.model import LanguageModel


class World(Source):
    """A small language model that was trained on a made-up world, and knows it; see docs/world.md."""

    opens: ClassVar[str] = "language_model"
    type: Literal["world"]
    name: str
    """Which one: `atlas`, or `atlas-small`, which is for tests."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in shipped_names():
            raise ValueError(unknown("world", name, shipped_names()))
        return name

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """Digest of the names and contents of the shipped files, as for a local folder."""
        return Local(type="local", path=str(shipped(self.name))).fingerprint(digest_of)

    def open(self, opening: Opening) -> LanguageModel:
        """See lm/loading.py."""
        from ..lm.loading import open_folder

        return open_folder(shipped(self.name), opening, allow_pickle=False)
