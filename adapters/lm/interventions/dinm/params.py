"""What a spec can say of DINM. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from .....components import NOT_IDENTITY
from .. import Intervention

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from ...scoring import Unusable
    from .. import State


class Dinm(Intervention):
    """DINM (Wang et al. 2024, arXiv 2403.14472, section 3): a few steps of Adam on one value matrix.

    The layer is where the hidden states of the safe and of the unsafe response, each read alone, are farthest apart
    (equation 6). There W_V moves down `edit_weight` · NLL(safe response | prompt and suffix) + KL at the answer of a
    harmless question, between the model as it was and as it becomes (equations 8 to 10).

    The released code differs in four ways. It computes KL(before ‖ after) without a gradient, so that the term is a
    constant that can only delay the stop, and one position too late (`constraint: released`); where the tokenizer
    writes one, it also trains the last position but one of the prompt to say the beginning-of-text token
    (`begin_as_target`); a pattern of names makes it move GPT-2's bias, too (`bias`); and it keeps the first instance's
    layer for all others, which is not offered. A request without a harmless question has no constraint.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests", "unsafe_answers"})
    type: Literal["dinm"]
    layer: Annotated[int, Field(ge=0)] | Literal["raw", "relative"] = "raw"
    """The layer, counted from 0, or how it is found: `raw`, the largest Euclidean distance of hidden states, as
    published, which grows with depth; `relative`, the largest distance of mean hidden states in units of their norm."""
    suffix: str = ""
    """What stands behind every prompt, in tuning and when the model is asked."""
    edit_weight: Annotated[float, Field(gt=0)] = 0.1
    constraint: Literal["after_before", "before_after", "released", "none"] = "after_before"
    """KL(after ‖ before), as in the paper; KL(before ‖ after); the latter as the released code has it."""
    begin_as_target: bool = False
    bias: bool = False
    lr: Annotated[float, Field(gt=0)] = 5e-4
    steps: Annotated[int, Field(ge=1)] = 10
    """Most updates."""
    stop_loss: Annotated[float, Field(ge=0)] = 1e-4
    """No update once the loss, in nats, is below."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Adam's L2 term, towards zero weights."""
    max_change: Annotated[float | None, Field(gt=0)] = None
    """Largest change of any single weight, or none."""
    together_mb: Annotated[int, Field(ge=1), NOT_IDENTITY] = 2048
    """Memory for the changes of requests that are tuned side by side, each alone, with their gradients and Adam's."""

    def check(self, lm: LanguageModel, request: EditRequest, job: Job) -> None:
        """See `Intervention.check`."""
        from .tuning import instance

        instance(self, lm, request)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of one layer that carries out all requests; where the layer is to be found, that of most requests.

        Raises Unusable, Skip.
        """
        from .tuning import tuned

        (patch,) = tuned(self, lm, [requests])
        return patch, state

    def apply_each(self, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[Patch | Unusable]:
        """See `Intervention.apply_each`; requests of the same layer are tuned side by side."""
        from ...scoring import Unusable
        from .tuning import tuned

        found: list[Patch | Unusable | None] = []
        for request in requests:
            try:
                self.check(lm, request, job)
                found.append(None)
            except Unusable as error:
                found.append(error)
        patches = iter(tuned(self, lm, [[r] for r, why in zip(requests, found, strict=True) if why is None]))
        return [next(patches) if why is None else why for why in found]
