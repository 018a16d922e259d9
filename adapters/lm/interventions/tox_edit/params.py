"""What a spec can say of ToxEdit. Nothing heavy is imported here."""

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
    from .. import State


class ToxEdit(Intervention):
    """ToxEdit (Lu et al. 2025, arXiv 2505.22298), reconstructed from descriptions, without its code.

    A linear support vector machine tells harmful from harmless prompts by the hidden state of the last token, in front
    of the layer where it does so best (the highest F1). There a copy of the MLP's value matrix is trained on the safe
    answers, by their negative log-likelihood alone, and used for prompts that the machine calls harmful; all others see
    the untouched model. Settled here, where the descriptions leave it open: the machine reads what goes into the block,
    F1 is that on a held-out tenth (the lowest of equal layers is taken), and the verdict on a prompt holds for the
    whole answer.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"training_pairs"})
    type: Literal["tox_edit"]
    layer: Annotated[int, Field(ge=1)] | Literal["best"] = "best"
    prefix: str = ""
    """What stands before every prompt, in training and when the model is asked."""
    lr: Annotated[float, Field(gt=0)]
    steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)] = 16
    regularization: Annotated[float, Field(gt=0)] = 1.0
    """C of the support vector machine."""
    forward_batch: Annotated[int, Field(ge=1), NOT_IDENTITY] = 64
    """Texts in one forward pass."""

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of two inserted modules. Raises Skip, Unusable."""
        from .routed import routed

        return routed(self, lm, requests, job), state
