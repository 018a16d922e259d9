"""What a spec can say of training on pairs of answers. Nothing heavy is imported here."""

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
Layer = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]


class Everything(Strict):
    """All parameters of the model."""

    type: Literal["all"] = "all"


class Adapter(Strict):
    """A low-rank adapter on some projections (Hu et al. 2021, arXiv 2106.09685); the change is `alpha / rank` · B A."""

    type: Literal["lora"]
    modules: Annotated[tuple[Role, ...], Field(min_length=1)] = ("attention_query", "attention_value")
    layers: Annotated[tuple[Layer, ...] | None, Field(min_length=1)] = None
    """In which layers; all where nothing is said."""
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0


class Sft(Strict):
    """Cross-entropy of an answer's tokens, its end included, mean over all tokens of a batch."""

    type: Literal["sft"]
    answers: Literal["safe", "unsafe"] = "safe"
    """`unsafe` is what an attacker trains, and what negation subtracts."""
    harmless: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a batch that harmless prompts with their good answers make up."""


class Dpo(Strict):
    """−log σ(beta · z), z the log-ratio of the safe answer minus that of the unsafe one (Rafailov et al. 2023, arXiv
    2305.18290). A log-ratio compares sums over an answer's tokens with the model as it was when the stage began."""

    type: Literal["dpo"]
    beta: Annotated[float, Field(gt=0)] = 0.1


class Npo(Strict):
    """−(2 / beta) log σ(−beta · log-ratio of the unsafe answer) + `retain` · cross-entropy of harmless answers (NPO+RT;
    Zhang et al. 2024, arXiv 2404.05868)."""

    type: Literal["npo"]
    beta: Annotated[float, Field(gt=0)] = 0.1
    retain: Weight = 1.0


class Reroute(Strict):
    """Circuit breakers (Zou et al. 2024, arXiv 2406.04313): c_s · relu(cos(h, h₀)) on prompt and unsafe answer, plus
    c_r · retain · ‖h − h₀‖₂ on harmless texts, at all blocks; h₀ from the model as it was when the stage began. Of step
    t of T, from 1, c_s = alpha (1 − t/2T) and c_r = alpha t/2T. Means are over real tokens. At h = h₀ there is no
    gradient (both terms are at an extremum), so the stage begins beside it, by seeded noise of standard deviation 1e-3
    in the matrices that an adapter begins at zero, or of 1e-3 of each weight's own."""

    type: Literal["reroute"]
    alpha: Annotated[float, Field(gt=0)] = 10.0
    retain: Weight = 1.0
    """Factor of the second term. The released code divides that by padding, too: there it is the share of real tokens,
    small for short texts. Near h₀ the second term is the steeper one, by the norm of h; if it is not small there, h
    never leaves."""
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    """Blocks, from 0, whose outputs are turned away."""


class Stage(Strict):
    """Some steps with one objective."""

    objective: Annotated[Sft | Dpo | Npo | Reroute, Field(discriminator="type")]
    lr: Annotated[float, Field(gt=0)]
    """AdamW's."""
    steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Pairs in a step, drawn anew for each without replacement."""
    weight_decay: Weight = 0.0
    """AdamW's, of an adapter's matrices, or of the weights themselves and not of their change."""


class Training(Intervention):
    """What the methods that train have in common. The model itself is never written: what moves is a change of it."""

    consumes: ClassVar[frozenset[str]] = frozenset({"training_pairs"})
    type: str
    parameters: Annotated[Everything | Adapter, Field(discriminator="type")] = Everything()
    """What moves."""
    forward_batch: Annotated[int, Field(ge=1), NOT_IDENTITY] = 64
    """Rows in one forward pass; gradients are summed over all of them. Its effect is float noise."""


class Tune(Training):
    """Stages of training: supervised fine-tuning, DPO, NPO, circuit breakers, and what is made of them."""

    type: Literal["tune"]
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """One after the other; DPO after supervised fine-tuning has the fine-tuned model as its reference."""

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch that is trained on all requests. Raises Unusable, Skip."""
        from .training import trained

        return trained(self, lm, requests, self.stages, job, "tune"), state


class TaskArithmetic(Training):
    """A change that was trained towards unsafe answers, taken away.

    `negate` (Ilharco et al. 2022, arXiv 2212.04089): θ − strength · τ. `ext_sub` (Hu et al. 2023, arXiv 2308.08090):
    only what the anti-expert has beyond the expert, W⁺ − strength · Ext(W⁻), where for each row, with u the unit rows
    and c = (u⁺ + u⁻) / ‖u⁺ + u⁻‖, Ext(w⁻) = w⁻ − (w⁻ · c) c. A row that is zero in either has nothing in common: c = 0.
    """

    type: Literal["task_arithmetic"]
    operation: Literal["negate", "ext_sub"]
    anti: Annotated[tuple[Stage, ...], Field(min_length=1)]
    """How the anti-expert is trained."""
    expert: tuple[Stage, ...] = ()
    """How the expert is trained; `ext_sub` needs one."""
    strength: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _has_an_expert(self) -> TaskArithmetic:
        if (self.operation == "ext_sub") != bool(self.expert):
            raise ValueError("ext_sub needs stages for its `expert`, and negate has none")
        return self

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch that is trained on all requests. Raises Unusable, Skip."""
        from .arithmetic import combined

        return combined(self, lm, requests, job), state


class Experts(Training):
    """DExperts: see lm/decoding.py; expert and anti-expert are adapters on the same model, not smaller models."""

    yields: ClassVar[str] = "decoding"
    type: Literal["experts"]
    parameters: Adapter
    expert: Annotated[tuple[Stage, ...], Field(min_length=1)]
    anti: Annotated[tuple[Stage, ...], Field(min_length=1)]
    alpha: Annotated[float, Field(gt=0)] = 2.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the model's own probability whose tokens may be chosen."""

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of decoding alone. Raises Unusable, Skip."""
        from .arithmetic import experts

        return experts(self, lm, requests, job), state
