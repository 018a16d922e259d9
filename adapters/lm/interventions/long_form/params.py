"""The algorithm `long_form`. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from .....components import NOT_IDENTITY, DataFile, Strict
from .. import Intervention
from ..locate_then_edit.params import LocateThenEdit
from ..locate_then_edit.solvers import LeastSquares, NullSpace

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from .. import State

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Layer = Annotated[int, Field(ge=0)]


class Search(Strict):
    """What should come out of the last listed block at the token before a chunk: h + δ, where δ minimises the mean
    negative log-likelihood of the chunk's tokens + weight_decay · |δ| / |h|², earlier chunks' δ in force."""

    steps: Count = 25
    """Evaluations of the loss; the vector moves one time less."""
    lr: Positive = 0.5
    """Of Adam."""
    weight_decay: NotNegative = 1e-3
    clamp_norm_factor: Positive = 4.0
    """Largest |δ|, in units of |h|."""
    stop_loss: NotNegative = 0.0
    """A chunk ends once its loss is below."""
    window: Count | None = None
    """Tokens of a chunk; the whole target is one where it is null."""
    overlap: Annotated[int, Field(ge=0)] = 0
    """Tokens that a chunk has in common with the one before."""
    ended: bool = True
    """Whether the token that ends a text belongs to the target, so that the model learns where to stop."""

    @model_validator(mode="after")
    def _moves_on(self) -> Search:
        if self.overlap and (self.window is None or self.overlap >= self.window):
            raise ValueError(f"overlap {self.overlap} must be smaller than the window, {self.window}")
        return self


class Others(Strict):
    """Texts at which a trained block shall go on putting out what it does."""

    text: DataFile | None = None
    """A text file, a document a line; null for texts that the untouched model samples (the papers take Alpaca)."""
    count: Annotated[int, Field(ge=0)] = 20
    """How many are drawn for each edit."""
    pool: Count = 200
    """From so many: the first of the file, or sampled ones."""
    tokens: Annotated[int, Field(ge=2)] = 128
    """Longest text: a file's are cut off there, sampled ones have this length."""


class TrainBlock(Strict):
    """All parameters of a block descend MSE(outputs at the request, wanted) + MSE(outputs at other texts, as now)."""

    type: Literal["train_block"]
    lr: Positive = 2e-4
    """Of AdamW."""
    steps: Count = 50
    weight_decay: NotNegative = 0.01
    """AdamW's, of the weights themselves and not of their change; normalisations do not decay."""
    others: Others = Others()


class LongForm(Intervention):
    """Chunks × value × writer: UnKE (Deng et al. 2024, arXiv 2405.15349) and AnyEdit (Jiang et al. 2025, arXiv
    2502.05628).

    **UnKE**: one state, at the last token of the prompt, makes the model say the whole target; the block that puts it
    out is trained (`train_block`), its other tokens and other texts held. **AnyEdit**: a state for each window of the
    target, found one after the other, each with the earlier ones in force; written by training the block (UnKE-ARE), or
    by least squares over several MLPs (MEMIT-ARE), where the keys of all other tokens of prompt and target count as
    keys whose values stay: ΔW = R Kᵀ(λC + K_p K_pᵀ + K Kᵀ)⁻¹; with AlphaEdit's solver in its place AlphaEdit-ARE. Each
    listed layer takes an equal share of what is still missing at the last one.

    Differences from the released code: means of the MSE are over real tokens, there over padding as well; a window
    that ends with the target is the last one, there an overlap may add one that says nothing new.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["long_form"]
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    """Blocks that change, the lowest first; the states are those behind the last one."""
    value: Search = Search()
    solve: Annotated[TrainBlock | LeastSquares | NullSpace, Field(discriminator="type")]
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 16
    """Requests whose rows go through the model at once. Its effect is float noise."""
    _known: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _ascends(self) -> LongForm:
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError("layers must be listed once each, the lowest first")
        return self

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """Other texts or covariances, of the untouched model. Raises Skip for a layer that it does not have."""
        from ...architecture import linear

        for layer in self.layers:
            linear(lm.model, layer, "mlp_down")
        self._grounds(lm, job)

    def check(self, lm: LanguageModel, request: EditRequest, job: Job) -> None:
        """Prompt, target and the end of the text must fit the context."""
        from .chunks import row_of

        row_of(lm, request, self.value)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """Full changes of blocks, or low-rank ones of projections. Raises Unusable, Skip, ModelError."""
        from .writing import written

        return written(self, lm, requests, self._grounds(lm, job), state, job)

    def inner(self) -> LocateThenEdit:
        """The same layers and solver as an algorithm whose covariances are shared with MEMIT's."""
        return LocateThenEdit.model_validate(
            {
                "type": "locate_then_edit",
                "site": {"layers": self.layers},
                "value": {"context_templates": ("{}",)},
                "solve": self.solve,
            }
        )

    def _grounds(self, lm: LanguageModel, job: Job) -> Any:
        """Other texts, or inverse covariances by layer; made once for each model and seed."""
        from .writing import grounds

        key = f"{job.fingerprints['subject']} {job.seed}"
        if key not in self._known:
            found = grounds(self, lm, job)
            self._known.clear()
            self._known[key] = found
        return self._known[key]
