"""What a spec can say of fine-tuning. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from .....components import NOT_IDENTITY, Strict
from .. import Intervention

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from .. import State

Role = Literal["attention_query", "attention_key", "attention_value", "attention_out", "mlp_up", "mlp_gate", "mlp_down"]
"""A projection of a block. A family that keeps queries, keys and values in one matrix has that one for all three."""

Layer = Annotated[int, Field(ge=0)]


class Parameters(Strict):
    """Parameters of a model, by the role of their module and the layer."""

    module: Role = "mlp_down"
    """The projection whose weight and bias move; the MLP's output projection where nothing is said."""
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]


class Descent(Intervention):
    """Adam on the negative log-likelihood of the targets, mean over requests."""

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: str
    objective: Literal["target_tokens", "last_token"] = "target_tokens"
    """Whose mean is the loss of a request: `target_tokens`, the negative log-likelihood of each of the target's tokens
    after those before it, the prompt masked; `last_token`, that of each at the prompt's last position."""
    lr: Annotated[float, Field(gt=0)] = 5e-4
    steps: Annotated[int, Field(ge=1)] = 25
    """Most updates of an edit."""
    stop_loss: Annotated[float, Field(ge=0)] = 0.01
    """No update once the loss, in nats, is below."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Adam's L2 term, towards zero weights."""
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 32
    """Requests in one forward pass; gradients are summed over all of them. Its effect is float noise."""


class FineTune(Descent):
    """Fine-tune some parameters.

    With `target_tokens` this is FT-M (Zhang et al. 2024, arXiv 2401.01286, section 4); with `last_token` FT-L of the
    same work, and with `max_change` the constrained fine-tuning (FT+L) of Zhu et al. 2020 (arXiv 2012.00363) as in
    ROME's tables. EasyEdit's FT-L adds, for tokenizers that write one, the beginning-of-text token to the targets;
    here it is never a target. The parameters are optimised as a change added to the untouched weights, so that the
    model itself is never written.
    """

    type: Literal["fine_tune"]
    parameters: Parameters
    """Which parameters move."""
    max_change: Annotated[float | None, Field(gt=0)] = None
    """Largest change of any single weight (an L-infinity ball), or none."""

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A dense patch of the chosen parameters. Raises Unusable, Skip, ModelError."""
        from .descent import dense_changes

        return dense_changes(self, lm, requests), state


class Adapted(Descent):
    """What adapters of projections share: each edit has a fresh one, on the model as it is."""

    modules: Annotated[tuple[Role, ...], Field(min_length=1)] = ("attention_query", "attention_value")
    """Which projections get an adapter; those to queries and values in the paper."""
    layers: Annotated[tuple[Layer, ...] | None, Field(min_length=1)] = None
    """In which layers; all where nothing is said."""
    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] = 32.0

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A low-rank patch. Raises Unusable, Skip, ModelError."""
        from .adapters import low_rank_changes

        return low_rank_changes(self, lm, requests, job), state


class Lora(Adapted):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685): each edit a fresh adapter on the model as it is.

    The change of a weight is `alpha / rank` · B A, with A drawn from the cell's random numbers and B zero at first.
    """

    type: Literal["lora"]


class AdaLora(Adapted):
    """Adaptive budget allocation (Zhang et al. 2023, arXiv 2303.10512), by `peft`; most of EasyEdit's "LoRA" rows.

    The change of a weight is `alpha / initial_rank` · P Λ Q, with P and Q drawn and Λ, diagonal, zero at first. After
    each update the triplets (a column of P, a number of Λ, a row of Q) of all projections are ranked together by
    importance, the smoothed |w · gradient| times its smoothed variation (equations 8 to 11), and Λ is zero but for the
    best b(t): from `initial_rank` of each projection down to `rank` on average by a cubic (equation 12). An edit whose
    loss falls below `stop_loss` before its last step keeps the budget that it had come to.

    EasyEdit's code never calls the allocation, so that its adapters keep all of peft's initial rank, 12, and its `rank`
    is without effect: `allocate: false` is that variant. It also trains the token "<|endoftext|>" after each target,
    written out for every tokenizer, and drops out a tenth of the inputs; neither is done here.
    """

    type: Literal["adalora"]
    initial_rank: Annotated[int, Field(ge=2)] = 12
    """Of each projection before anything is cut off; `rank` is the mean rank at the end."""
    allocate: bool = True
    """Whether the budget falls; else the rank stays the initial one."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Updates before the budget begins to fall."""
    final: Annotated[int, Field(ge=0)] = 0
    """Updates after it has fallen."""
    interval: Annotated[int, Field(ge=1)] = 1
    """Updates from one allocation to the next."""
    smoothing: Annotated[float, Field(gt=0, lt=1)] = 0.85
    """Of importance and of its variation: how much of the old value stays (both betas of the paper)."""
    orthogonal: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the regulariser that keeps the columns of P and the rows of Q orthonormal."""
    regulariser: Literal["norm", "squared"] = "norm"
    """`norm`: the mean of |PᵀP − 1| and |QQᵀ − 1| over all matrices, as the authors' code and peft have it, for which
    the published weights are meant. `squared`: the sum of their squares (equation 4)."""

    @model_validator(mode="after")
    def _has_a_budget(self) -> AdaLora:
        if self.allocate and self.initial_rank <= self.rank:
            raise ValueError(
                f"initial_rank {self.initial_rank} must be above rank {self.rank}, or `allocate` be false; "
                "with equal ranks nothing is allocated"
            )
        if self.allocate and self.warmup + self.final >= self.steps:
            raise ValueError(f"warmup and final leave none of the {self.steps} steps in which the budget could fall")
        return self
