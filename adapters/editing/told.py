"""Questions as a patched model is asked them: with whatever its patch puts before them, where there is room for it."""

from __future__ import annotations

from collections.abc import Sequence

from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.scoring import Row, Unusable, encode


def told(lm: LanguageModel, patch: Patch, prompt: str, targets: Sequence[str], before: str = "") -> list[Row]:
    """The prompt with each of the targets, all after the same text. Raises Unusable.

    Where notes leave no room, it is asked without them, so that every method answers the same questions. `before`: a
    text that stands before all, and is no part of what is asked.
    """
    if patch.prompts is not None:
        try:
            return [encode(lm, before + patch.prompt(prompt), target) for target in targets]
        except Unusable:
            pass
    return [encode(lm, before + prompt, target) for target in targets]
