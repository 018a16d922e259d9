"""Everything that changes or steers a language model; used by editing, detox and probing.

An algorithm that yields `patch` derives from `Intervention`. The model is untouched on return. `state` is the memory of
a sequential method (None at first): names to tensors, so that it can be kept at a checkpoint; it is never kept in a
module. `job` gives randomness, artifacts and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from ....components import Algorithm

if TYPE_CHECKING:
    import torch

    from ....job import Job
    from ..model import LanguageModel
    from ..patch import Patch
    from ..requests import EditRequest
    from ..scoring import Unusable

    State = Mapping[str, torch.Tensor] | None


class Intervention(Algorithm):
    """What yields a patch."""

    yields: ClassVar[str] = "patch"
    type: str

    @property
    def scope(self) -> Literal["per_instance", "dataset", "inference"]:
        """What a patch is made from: one request, the whole training split, or nothing but the method itself.

        A method with the second scope is given the training split as the requests of `apply`; one with the first
        that learns beforehand consumes `training_requests` too, and finds them in `job.training`.
        """
        if "edit_requests" in self.consumes:
            return "per_instance"
        return "dataset" if "training_pairs" in self.consumes else "inference"

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """Make the artifacts that describe the untouched model; called before anything is applied to it."""

    def check(self, lm: LanguageModel, request: EditRequest, job: Job) -> None:
        """Raises Unusable for a request that the method cannot carry out on this model, whatever stands beside it."""
        from ..scoring import encode

        encode(lm, request.prompt, request.target_new)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch that carries out all requests together, relative to the model as it is now.

        Earlier patches of a sequence are applied when it is called; every request has passed `check`. Raises Skip
        where the method does not fit the model.
        """
        raise NotImplementedError

    def apply_each(self, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[Patch | Unusable]:
        """A patch for each request alone, on the untouched model; who can work on many at once overrides it."""
        from ..scoring import Unusable

        found: list[Patch | Unusable] = []
        for request in requests:
            try:
                self.check(lm, request, job)
                found.append(self.apply(lm, [request], None, job)[0])
            except Unusable as error:
                found.append(error)
        return found
