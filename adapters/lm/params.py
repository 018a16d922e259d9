"""Where language models come from. Nothing heavy is imported here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ...canonical import digest
from ...components import NOT_IDENTITY, MethodName, ModelName, Opening, Source, TaskName
from ...loading.resolve import builtin
from .folder import check_folder

if TYPE_CHECKING:
    from .model import LanguageModel

_DEFINING = (".safetensors", ".bin", ".json", ".txt", ".model")
"""Files of a model folder that define it; others (README, pictures) do not."""


class Pretrained(Source):
    """What all models in Hugging Face format share."""

    opens: ClassVar[str] = "language_model"
    type: str
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    """How attention is computed; transformers' own choice when empty."""
    device_map: Annotated[Literal["auto"] | None, NOT_IDENTITY] = None
    """`auto`: spread the layers over all GPUs (needs accelerate); else the whole model is on the spec's `device`."""
    chat_template: Literal["none", "own"] = "none"
    """`own`: every prompt is a user's turn of the tokenizer's chat template; `none`: prompts as they stand."""
    allow_pickle: bool = False
    """Read `.bin` weights as well. Unpickling can run code: only for files that you trust."""

    def open_from(self, folder: str | Path, opening: Opening) -> LanguageModel:
        """See loading.py."""
        from .loading import open_folder

        return open_folder(
            folder,
            opening,
            allow_pickle=self.allow_pickle,
            attention=self.attention,
            device_map=self.device_map,
            chat=self.chat_template == "own",
        )


def folder_fingerprint(folder: Path, digest_of: Callable[[Path], str]) -> str:
    """Digest of the names and contents of the files that define a model."""
    files = sorted(f for f in folder.iterdir() if f.suffix in _DEFINING and f.is_file())
    return digest({f.name: digest_of(f) for f in files})


class Local(Pretrained):
    """A folder in Hugging Face format: config, tokenizer, safetensors."""

    type: Literal["local"]
    path: Annotated[str, NOT_IDENTITY]
    """The folder; `builtin:NAME` for one that is shipped."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        return builtin(self.path) or Path(self.path)

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """Digest of the names and contents of the files that define the model."""
        check_folder(self.folder, self.allow_pickle)
        return folder_fingerprint(self.folder, digest_of)

    def open(self, opening: Opening) -> LanguageModel:
        """See loading.py."""
        return self.open_from(self.folder, opening)


class Hub(Pretrained):
    """A repository of the Hugging Face hub, at one commit."""

    type: Literal["hub"]
    id: str
    """`owner/name`."""
    revision: Annotated[str, NOT_IDENTITY] = "main"
    """Branch, tag or commit. The commit that it stands for enters the identity of every cell."""

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """The commit: as given, as the local cache knows it, or as the hub answers."""
        if re.fullmatch(r"[0-9a-f]{40}", self.revision):
            return self.revision
        from .loading import hub_commit

        return hub_commit(self.id, self.revision)

    def open(self, opening: Opening) -> LanguageModel:
        """See loading.py."""
        from .loading import hub_folder

        return self.open_from(hub_folder(self.id, opening.weights), opening)


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


class Edited(Source):
    """A model after an edit: a method has carried out the first requests of a task on it, and it stays so.

    Circuits, a detox task or a profile after an edit are a task on such a model.
    """

    opens: ClassVar[str] = "language_model"
    type: Literal["edited"]
    base: ModelName
    """The model that is edited."""
    method: MethodName
    """An editor."""
    task: TaskName
    """A task whose items are edit requests."""
    first: Annotated[int, Field(ge=1)] = 1
    """How many of its requests, in the order of the data."""
    at_once: Annotated[int, Field(ge=1)] = 1
    """Requests that are carried out together; one after the other by default."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the method's random choices."""

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """Base, method and task are added by the engine; beside them the parameters say it all."""
        return digest({"edited": self.version})

    def open(self, opening: Opening) -> LanguageModel:
        """See edited.py. Raises ModelError when the task has too few requests."""
        from .edited import open_edited

        return open_edited(self, opening)
