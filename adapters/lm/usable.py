"""A model that stays edited, as a person uses it: asked in words, or called as the `transformers` model that it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, overload
from weakref import finalize

import torch

from ...artifacts import ArtifactStore, artifact_root
from ...components import Opening
from ...errors import ModelError, UsageError, unknown
from .folder import check_folder
from .loading import DTYPES, open_folder
from .model import LanguageModel
from .patch import Patch
from .plain import plainly_asked
from .writing import Question, written

BATCH = 32
"""Prompts in one forward pass."""


@contextmanager
def in_use(lm: LanguageModel, patch: Patch) -> Iterator[Any]:
    """The `transformers` model with the patch in force, fit for plain calls; afterwards bit for bit as before."""
    with ExitStack() as around:
        around.enter_context(patch.applied(lm))
        if patch.inserts or lm.surrounded:
            around.enter_context(plainly_asked(lm))
        yield lm.model


@overload
def asked(lm: LanguageModel, prompts: str, patch: Patch, tokens: int) -> str: ...
@overload
def asked(lm: LanguageModel, prompts: list[str], patch: Patch, tokens: int) -> list[str]: ...
def asked(lm: LanguageModel, prompts: str | list[str], patch: Patch, tokens: int) -> str | list[str]:
    """Greedy answers of at most so many tokens, up to the end of the text; the patch is in force already."""
    alone = isinstance(prompts, str)
    if not all([prompts] if isinstance(prompts, str) else prompts):
        raise UsageError("prompts: one is empty; expected a text")
    questions = [Question(p) for p in ([prompts] if isinstance(prompts, str) else prompts)]
    with torch.inference_mode():
        texts = [answer.text for answer in written(lm, questions, patch, tokens, BATCH)]
    return texts[0] if alone else texts


class EditedModel:
    """A model from a folder that `save` or `--save-model` wrote; see `load_edited`."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._use = ExitStack()
        # Also at the end of the program, while there still is something to put back with.
        finalize(self, self._use.close)
        if lm.surrounded:
            self._use.enter_context(plainly_asked(lm))

    @property
    def model(self) -> Any:
        """The `transformers` model, for `generate` and for calls. Prompts go through `prompt` first."""
        return self.lm.model

    @property
    def tokenizer(self) -> Any:
        return self.lm.tokenizer

    def prompt(self, text: str) -> str:
        """What the edited model is given in place of a prompt: in-context editors put notes before it."""
        return self.lm.prompts.prompt(text) if self.lm.prompts else text

    @overload
    def ask(self, prompts: str, tokens: int = 20) -> str: ...
    @overload
    def ask(self, prompts: list[str], tokens: int = 20) -> list[str]: ...
    def ask(self, prompts: str | list[str], tokens: int = 20) -> str | list[str]:
        """Greedy answers of at most so many tokens."""
        return asked(self.lm, prompts, Patch(), tokens)

    def close(self) -> None:
        """Give its memory back."""
        self._use.close()
        self.lm.close()


def load_edited(
    path: str | Path,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    chat_template: Literal["none", "own"] = "none",
    threads: int = 1,
) -> EditedModel:
    """The model that `Edited.save` or `benchwright edit --save-model` wrote, answering as it did.

    `dtype`: as it was written, where nothing is said. `chat_template`: `own`, where the model was edited so. Raises
    ModelError, DataError, UsageError.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; expected one that `benchwright edit --save-model` wrote")
    kind = dtype or _written_dtype(folder)
    if kind not in DTYPES:
        raise UsageError(unknown("dtype", kind, DTYPES))
    opening = Opening(device, kind, threads, "", ArtifactStore(artifact_root()))
    return EditedModel(open_folder(folder, opening, chat=chat_template == "own"))


def _written_dtype(folder: Path) -> str:
    """The dtype that a folder's configuration names; float32 where it names none that is known."""
    check_folder(folder, allow_pickle=False)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = str(config.get("dtype") or config.get("torch_dtype"))
    return named if named in DTYPES else "float32"
