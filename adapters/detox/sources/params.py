"""What a spec can say of detox cases. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ....components import Data

if TYPE_CHECKING:
    from ...lm.requests import EditRequest
    from ..cases import DetoxCase, Truth


class DetoxCases(Data):
    """What the sources of detox cases share."""

    yields: ClassVar[str] = "detox_case"
    gated: ClassVar[bool] = False
    """Whether its texts are harmful or may not be passed on: reports then show ids and rates, never texts."""

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[DetoxCase]:
        """The first `limit` cases of the split. Raises DataError naming record and field."""
        raise NotImplementedError

    def training(self, files: Mapping[str, Path]) -> list[EditRequest]:
        """The training split: adversarial and plain prompts with a safe and an unsafe answer each, and in `keep` harmless
        prompts with good answers. Shares no question and no attack with what `load` gives. May be empty."""
        return []

    def truth(self, files: Mapping[str, Path]) -> Truth | None:
        """What is known for certain about responses, or None where a judge has to decide."""
        return None
