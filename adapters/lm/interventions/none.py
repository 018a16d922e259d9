"""Change nothing: the control that every table needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ....components import Algorithm

if TYPE_CHECKING:
    from ....job import Job
    from ..model import LanguageModel
    from ..patch import Patch
    from ..requests import EditRequest


class Nothing(Algorithm):
    """The untouched model."""

    yields: ClassVar[str] = "patch"
    type: Literal["none"]

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: Any, job: Job) -> tuple[Patch, Any]:
        """The empty patch."""
        from ..patch import Patch

        return Patch(), state
