"""Models that come with the package. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from ...canonical import digest
from ...components import Opening, Source
from ...errors import unknown
from ..lm.params import Local
from .compiled.design import VERSION, Design
from .shipped import shipped, shipped_names

if TYPE_CHECKING:
    from ..lm.model import LanguageModel


class World(Source):
    """A small language model that was trained on a made-up world: docs/world.md, docs/forbidden.md, docs/chores.md."""

    opens: ClassVar[str] = "language_model"
    type: Literal["world"]
    name: str
    """Which one: `atlas`, or `atlas-small`, which is for tests, know facts; `forbidden`, `forbidden-1`, `forbidden-2`,
    each of a world of its own, say forbidden words; `chores` is a student to be taught."""

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


class Compiled(Source, Design):
    """A small GPT-2 whose circuit was written into the weights by hand; see docs/circuits.md.

    It answers `capital S3 is` with the subject's attribute, and which edges it does so with is known.
    """

    version: ClassVar[int] = VERSION
    opens: ClassVar[str] = "language_model"
    type: Literal["compiled"]
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the facts, of where the parts sit, and of the noise."""

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """The parameters say it all."""
        return digest({"compiled": self.model_dump(), "version": self.version})

    def open(self, opening: Opening) -> LanguageModel:
        """See compiled/making.py. Raises ModelError for a design whose model answers wrongly."""
        from .compiled.making import make

        return make(self, self.seed, opening.device, opening.dtype, opening.threads).lm
