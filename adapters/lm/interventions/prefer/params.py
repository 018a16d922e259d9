"""What a spec can say of editing by preference. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from .....components import NOT_IDENTITY
from .. import Intervention
from ..tune.params import Adapter

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from .. import State


class Prefer(Intervention):
    """Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290) of single requests.

    (1 − likelihood) · −log σ(beta · z) + likelihood · NLL, mean over requests: z is the log-ratio of the new target
    minus that of the rejected one, sums over tokens against the model as it is when the edit begins; the NLL is the
    mean over the new target's tokens. Rejected is the request's true target, or, where a request has none, what the
    model says now, greedily, as many tokens long.

    EasyEdit's DPO (`likelihood` 0.99) sums differences of log-probabilities over the whole vocabulary in place of a
    target's tokens, through a tanh, and counts the prompt in the NLL; its adapter is AdaLoRA's, here it is LoRA's.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["prefer"]
    parameters: Adapter = Adapter(type="lora", rank=8)
    """What moves; each edit has a fresh adapter."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    likelihood: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the new target's NLL in the loss."""
    lr: Annotated[float, Field(gt=0)] = 5e-5
    """Of Adam."""
    steps: Annotated[int, Field(ge=1)] = 7
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 32
    """Requests in one forward pass; gradients are summed over all of them. Its effect is float noise."""

    def check(self, lm: LanguageModel, request: EditRequest, job: Job) -> None:
        """Both targets must be such as the model can be asked."""
        from ...scoring import encode

        for target in (request.target_new, request.target_true):
            if target is not None:
                encode(lm, request.prompt, target)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A low-rank patch. Raises Unusable, Skip, ModelError."""
        from .descent import preferring

        return preferring(self, lm, requests, job), state
