"""Everything that changes or steers a language model; used by editing, detox and probing.

An algorithm that yields `patch` has one method:

    apply(model, requests, state, job) -> (Patch, state)

The model is untouched on return. `state` is the memory of a sequential method (None at first); it is never kept in a
module. `job` gives randomness, artifacts and files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ....job import Job
    from ..model import LanguageModel
    from ..patch import Patch
    from ..requests import EditRequest


@runtime_checkable
class YieldsPatch(Protocol):
    """What an algorithm that yields `patch` does."""

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: Any, job: Job) -> tuple[Patch, Any]:
        """See the module. Raises Skip where the method does not fit the model."""
        ...
