"""What a spec can say of memories beside a model. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from .....components import NOT_IDENTITY, Strict
from .. import Intervention

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from ...scoring import Unusable
    from .. import State


class Site(Strict):
    """The module beside which a memory stands."""

    module: Literal["mlp_up", "mlp_gate", "mlp_down", "mlp", "attention_out"] = "mlp_down"
    layer: Annotated[int, Field(ge=0)]


class Grace(Intervention):
    """GRACE (Hartvigsen et al. 2023, arXiv 2211.11031): a codebook of replaced outputs at one layer.

    The key of a request is the module's input at the prompt's last token. Where the nearest key is further than its
    epsilon and `epsilon` together, the request gets an entry of its own. Where it is nearer and stands for the same
    target, its epsilon grows to the distance (and by a thousandth of `epsilon`, so that float noise does not decide).
    Where it stands for another target, both regions end half-way. The values are trained on the targets.

    Three details are decided here: a conflict never makes a region larger; an entry whose very key comes again with
    another target is taken over by it (half of no distance would leave neither); and targets are the same when their
    tokens are (the published code compares means of token ids).
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["grace"]
    site: Site
    epsilon: Annotated[float, Field(gt=0)] = 1.0
    """Distance up to which a new entry holds, in the units of the module's input."""
    replace: Literal["last", "prompt"] = "last"
    """Which outputs a value replaces: that of the prompt's last token, or those of all of the prompt's."""
    start: Literal["cold", "warm"] = "cold"
    """A new value before training: uniform draws from [0, 1), or the output that the module gives."""
    lr: Annotated[float, Field(gt=0)] = 1.0
    """Adam's, for the values."""
    steps: Annotated[int, Field(ge=1)] = 100
    """Most updates of a value in an edit."""
    stop_loss: Annotated[float, Field(ge=0)] = 0.01
    """A value is not updated once the mean negative log-likelihood of its target's tokens, in nats, is below."""
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 32
    """Requests in one forward pass; its effect is float noise."""

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch with the whole codebook, which stands in place of an earlier one. Raises Unusable, Skip."""
        from .grace import all_together

        return all_together(self, lm, requests, state, job)

    def apply_each(self, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[Patch | Unusable]:
        """See `Intervention.apply_each`; the values of many requests are trained at once."""
        from .grace import each_alone

        return each_alone(self, lm, requests, job)
