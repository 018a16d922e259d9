"""Change nothing: the control that every table needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from . import Intervention

if TYPE_CHECKING:
    from ....job import Job
    from ..model import LanguageModel
    from ..patch import Patch
    from ..requests import EditRequest
    from . import State


class Nothing(Intervention):
    """The untouched model."""

    type: Literal["none"]

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """The empty patch."""
        from ..patch import Patch

        return Patch(), state
