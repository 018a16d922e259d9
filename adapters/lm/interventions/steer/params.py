"""What a spec can say of steering. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from .....components import NOT_IDENTITY
from .. import Intervention

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from .. import State

Layer = Annotated[int, Field(ge=0)]
Layers = Annotated[tuple[Layer, ...], Field(min_length=1)]
"""Blocks, from 0; what is read and moved is a block's output."""


class FromPairs(Intervention):
    """What is read off the hidden states of a training split."""

    consumes: ClassVar[frozenset[str]] = frozenset({"training_pairs"})
    type: str
    pairs: Annotated[int, Field(ge=2)] = 128
    """So many of the training pairs are read, drawn anew for each seed."""
    forward_batch: Annotated[int, Field(ge=1), NOT_IDENTITY] = 64
    """Texts in one forward pass."""


class Steer(FromPairs):
    """A direction of the residual stream, added or taken out.

    `response_mean`: mean over pairs of the mean hidden state of the safe answer minus that of the unsafe one, behind
    the same prompt: contrastive activation addition (Panickssery et al. 2023, arXiv 2312.06681), whose authors read the
    letter of a multiple-choice answer instead. `prompt_means`: mean at the last token of harmful prompts minus that of
    harmless ones, the refusal direction (Arditi et al. 2024, arXiv 2406.11717); place and layer are given, not
    searched for. `principal`: first principal component of centred differences at the last token of both texts, each
    pair in random order, of unit length, pointing from unsafe to safe (Zou et al. 2023, arXiv 2310.01405).
    """

    type: Literal["steer"]
    direction: Literal["response_mean", "prompt_means", "principal"]
    layers: Layers
    """Where it is read; `add` moves each of these layers along its own, `ablate` has one."""
    operation: Literal["add", "ablate"] = "add"
    """`add`: h + strength · v. `ablate`: h − v̂ v̂ᵀh at everything that writes into the stream, in all layers."""
    strength: float = 1.0
    where: Literal["all", "answer"] = "answer"
    """`answer`: from the prompt's last token on."""

    @model_validator(mode="after")
    def _one_to_ablate(self) -> Steer:
        if self.operation == "ablate" and len(self.layers) != 1:
            raise ValueError("one direction can be ablated; name the one layer where it is read")
        return self

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of inserted modules. Raises Skip, Unusable."""
        from .directions import steered

        return steered(self, lm, requests, job), state


class ActAdd(Intervention):
    """Activation addition (Turner et al. 2023, arXiv 2308.10248): `strength` · (h(toward) − h(away)) is added to the
    first tokens of the prompt, token by token, the shorter text filled up at its end; nothing is trained."""

    type: Literal["act_add"]
    toward: str
    away: str
    layer: Layer
    """The block whose output is moved (the paper counts the input of the next one)."""
    strength: float = 1.0

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of one inserted module. Raises Skip, Unusable."""
        from .directions import act_added

        return act_added(self, lm), state


class ProjectOut(FromPairs):
    """ProFS (Uppaal et al. 2024, arXiv 2405.13967): a toxic subspace is projected out of MLP value matrices.

    Of each layer: rows of differences between the mean hidden state of the safe and of the unsafe text, each read
    alone; the first right singular vector of the safe texts' (the direction that all texts share) is taken out of them;
    their first `rank` right singular vectors V give W ← (I − V Vᵀ) W. Means are over real tokens and rows are true
    pairs; the released code averages over padding and draws the two lists apart.
    """

    type: Literal["project_out"]
    layers: Layers
    rank: Annotated[int, Field(ge=1)]
    pairs: Annotated[int, Field(ge=2)] = 500

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A low-rank patch. Raises Skip, Unusable."""
        from .directions import projected_out

        return projected_out(self, lm, requests, job), state


class LmSteer(FromPairs):
    """LM-Steer (Han et al. 2023, arXiv 2305.12798): a linear map before the output embeddings, e' = e + eps · v · W e.

    W = P Qᵀ is trained so that v = 1 makes the safe answers likely and v = −1 the unsafe ones; the model is asked at
    `strength` = v. The second, constant steer of the released code is left out; only answers' tokens are in the loss.
    """

    type: Literal["lm_steer"]
    rank: Annotated[int, Field(ge=1)]
    epsilon: Annotated[float, Field(gt=0)] = 1e-3
    strength: float = 5.0
    lr: Annotated[float, Field(gt=0)] = 1e-2
    steps: Annotated[int, Field(ge=1)] = 1000
    batch_size: Annotated[int, Field(ge=1)] = 32

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch of one inserted module. Raises Skip, Unusable."""
        from .lm_steer import mapped

        return mapped(self, lm, requests, job), state
