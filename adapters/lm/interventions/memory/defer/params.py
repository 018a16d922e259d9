"""What a spec can say of DEFER. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ...fine_tune.params import Descent
from ..params import Projection

if TYPE_CHECKING:
    from ......job import Job
    from ....model import LanguageModel
    from ....patch import Patch
    from ....requests import EditRequest
    from ... import State


class Defer(Descent):
    """DEFER, the baseline of GRACE (Hartvigsen et al. 2023, arXiv 2211.11031) and WISE: a gate and a linear layer.

    Beside a projection stand a gate σ(g · q + c) and a linear layer U q + b, both of the projection's input q at the
    prompt's last token. They learn each request, from where the requests before have left them, on the target's
    likelihood, while the output is the mixture gate · value + (1 - gate) · output. In use, a gate of at least
    `threshold` puts the value in place of all outputs of the row (deferral.py). There are no examples of what should
    stay as it is: nothing teaches the gate to close.

    The published code decides for a whole batch at once where it has several rows, and asks again at every decoded
    token; here each prompt has one decision, which holds for what follows it. EasyEdit's copy looks at the last token
    of the target, in learning, and not at the prompt's.
    """

    type: Literal["defer"]
    objective: Literal["target_tokens"] = "target_tokens"
    site: Projection
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    lr: Annotated[float, Field(gt=0)] = 7e-5
    """Adam's: EasyEdit's value; 0.1 in the published code of GRACE."""
    steps: Annotated[int, Field(ge=1)] = 100
    """Most updates of an edit."""
    stop_loss: Annotated[float, Field(ge=0)] = 0.0
    """No update once the loss, in nats, is below; the published code takes all steps."""

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """Raises Skip, ModelError where the model lacks the projection."""
        from ....architecture import linear

        linear(lm.model, self.site.layer, self.site.module)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch with gate and linear layer, which stands in place of an earlier one. Raises Unusable, Skip."""
        from .learning import learned

        return learned(self, lm, requests, state, job)
