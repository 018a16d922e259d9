"""Where language models come from. Nothing heavy is imported here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ...canonical import digest
from ...components import NOT_IDENTITY, Opening, Source
from .folder import check_folder

if TYPE_CHECKING:
    from .model import LanguageModel

_DEFINING = (".safetensors", ".bin", ".json", ".txt", ".model")
"""Files of a model folder that define it; others (README, pictures) do not."""


class Local(Source):
    """A folder in Hugging Face format: config, tokenizer, safetensors."""

    opens: ClassVar[str] = "language_model"
    type: Literal["local"]
    path: Annotated[str, NOT_IDENTITY]
    """The folder."""
    allow_pickle: bool = False
    """Read `.bin` weights as well. Unpickling can run code: only for files that you trust."""

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """Digest of the names and contents of the files that define the model."""
        folder = Path(self.path)
        check_folder(folder, self.allow_pickle)
        files = sorted(f for f in folder.iterdir() if f.suffix in _DEFINING and f.is_file())
        return digest({f.name: digest_of(f) for f in files})

    def open(self, opening: Opening) -> LanguageModel:
        """See loading.py."""
        from .loading import open_folder

        return open_folder(self.path, opening, allow_pickle=self.allow_pickle)


class Hub(Source):
    """A repository of the Hugging Face hub, at one commit."""

    opens: ClassVar[str] = "language_model"
    type: Literal["hub"]
    id: str
    """`owner/name`."""
    revision: Annotated[str, NOT_IDENTITY] = "main"
    """Branch, tag or commit. The commit that it stands for enters the identity of every cell."""
    allow_pickle: bool = False
    """See `local`."""

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """The commit: as given, as the local cache knows it, or as the hub answers."""
        if re.fullmatch(r"[0-9a-f]{40}", self.revision):
            return self.revision
        from .loading import hub_commit

        return hub_commit(self.id, self.revision)

    def open(self, opening: Opening) -> LanguageModel:
        """See loading.py."""
        from .loading import hub_folder, open_folder

        folder = hub_folder(self.id, opening.weights)
        return open_folder(folder, opening, allow_pickle=self.allow_pickle)


class Seeded(Source):
    """A small Llama with random weights and a byte tokenizer, made from a seed: for tests and for the first try.

    It knows nothing; what it shows is that the machinery works.
    """

    opens: ClassVar[str] = "language_model"
    type: Literal["seeded"]
    seed: Annotated[int, Field(ge=0)] = 0
    layers: Annotated[int, Field(ge=1, le=16)] = 2
    width: Annotated[int, Field(ge=16, le=512, multiple_of=16)] = 64
    context: Annotated[int, Field(ge=32, le=4096)] = 256

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """The parameters say it all."""
        return digest({"seeded": self.model_dump(), "version": self.version})

    def open(self, opening: Opening) -> LanguageModel:
        """See seeded.py."""
        from .seeded import open_seeded

        return open_seeded(self, opening)
