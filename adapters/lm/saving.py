"""An edited model as a folder: weights in Hugging Face format, and beside them what surrounds them.

The weights are written with their changes, so that any program reads a weight editor's model. Codebooks, side memories
and changed prompts stand in a file of their own, which Benchwright puts around the model again wherever the folder is
named as a model; another program sees the weights alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import ModelError, UsageError
from .model import LanguageModel
from .patch import Patch

AROUND = "benchwright-patch.safetensors"
"""The file of a model folder with what surrounds its weights, as `Patch.save` writes it."""


def save_folder(lm: LanguageModel, patch: Patch, folder: Path) -> None:
    """Write the patched model and its tokenizer. Raises UsageError for a patch that no folder can hold, OSError."""
    if patch.decoding:
        raise UsageError(f"{folder}: a folder cannot hold a way of decoding")
    around = _merged([*lm.around, patch.around], folder)
    from .loading import without_bars

    with without_bars(), patch.applied(lm):
        lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    if around.inserts or around.prompts:
        around.save(folder / AROUND)


def surround(lm: LanguageModel, folder: Path) -> None:
    """Put around a model what its folder has for it, for good. Raises DataError, ModelError."""
    file = folder / AROUND
    if not file.is_file():
        return
    patch = Patch.load(file)
    modules = {name for name, _ in lm.model.named_modules()}
    if absent := sorted(patch.inserts.keys() - modules):
        raise ModelError(f"{file}: stands beside a module {absent[0]} that the model does not have")
    if patch.deltas:
        raise ModelError(f"{file}: changes weights (those of {folder} have their changes already); it is another patch")
    lm.keep(patch)


def _merged(patches: Sequence[Patch], folder: Path) -> Patch:
    """All of them as one. Raises UsageError where two stand at one place: both act, and one file holds one of them."""
    whole = Patch()
    for patch in patches:
        twice = sorted(whole.inserts.keys() & patch.inserts.keys())
        if twice or (whole.prompts and patch.prompts):
            where = f"beside {twice[0]}" if twice else "before prompts"
            raise UsageError(
                f"{folder}: two edits stand {where}, which one folder cannot hold; keep the second's delta"
            )
        whole = whole.then(patch)
    return whole
