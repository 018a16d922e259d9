"""What a spec can say of MELO. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ......components import NOT_IDENTITY, Strict
from ... import Intervention
from ..params import Count, NotNegative, Positive, Share, Site

if TYPE_CHECKING:
    from ......job import Job
    from ....model import LanguageModel
    from ....patch import Patch
    from ....requests import EditRequest
    from ....scoring import Unusable
    from ... import State


class Targets(Strict):
    """The projections that get blocks."""

    modules: Annotated[tuple[Literal["mlp_up", "mlp_gate", "mlp_down", "attention_out"], ...], Field(min_length=1)] = (
        "mlp_up",
    )
    layers: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Melo(Intervention):
    """MELO (Yu et al. 2024, arXiv 2312.11795): blocks of low-rank adapters, switched on by an index of hidden states.

    Requests that come together share a block, at most `edits_per_block` of them; it is trained on their targets. Each
    request becomes a point in the index, by the output of a module below the blocks at its prompt's last token. Where
    the nearest cluster's centre is further than its radius and `radius` together, the point founds a cluster. Where it
    is nearer and stands for the same target, the point joins: the centre is the mean of the points, the radius the
    largest distance to one, at least `radius`. Where it stands for another target, it founds a cluster, and both radii
    end half-way; points of the old one that are now outside are forgotten. A prompt uses the block of the nearest
    point of the nearest cluster, if it is inside that cluster's radius.

    Decided here, where the published code does otherwise: each request sees the clusters that the one before it left
    (there all of a batch see those before the batch); targets are the same when their tokens are (there, when the sums
    of the token ids are); a key that comes again with another target takes its cluster over (there float noise
    decides); a row has one block, named at its prompt's end (there it is named anew at every decoded token); A begins
    with draws within ± 1 / √inputs, as in LoRA's own code (there, ± 1 / √(all ranks)).
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["melo"]
    index: Site
    """The module whose output is the key of a prompt."""
    targets: Targets
    radius: Positive = 0.5
    """Smallest radius of a cluster, in the units of the module's output."""
    rank: Count = 2
    """Rank of a block."""
    edits_per_block: Count = 4
    """Most requests that share a block; those that come one at a time have a block each."""
    scale: Positive = 1.0
    """What B A is multiplied by. The published code multiplies each factor by √(number of blocks that are reserved):
    350 in all for its GPT-2 XL."""
    lr: Positive = 1e-3
    """Adam's."""
    steps: Count = 50
    """Updates of a block."""
    lr_step: Count = 20
    """Updates after which the learning rate is multiplied by `lr_decay`."""
    lr_decay: Share = 0.5
    stop_loss: NotNegative = 0.0
    """A block is not updated once its requests' mean negative log-likelihood, in nats, is below; the published code
    takes all steps."""
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 32
    """Requests in one forward pass, where each has a block; its effect is float noise."""

    @model_validator(mode="after")
    def _named_before_it_is_used(self) -> Melo:
        if self.index.layer >= min(self.targets.layers):
            below = f"layer {self.index.layer}, targets.layers begin at {min(self.targets.layers)}"
            raise ValueError(f"index.layer must be below the blocks: it is {below}")
        return self

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """Raises Skip, ModelError where the model lacks a module."""
        from .learning import places

        places(self, lm)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A patch with the index and all blocks, which stands in place of an earlier one. Raises Unusable, Skip."""
        from .learning import together

        return together(self, lm, requests, state, job)

    def apply_each(self, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[Patch | Unusable]:
        """See `Intervention.apply_each`; the blocks of many requests are trained at once."""
        from .learning import each_alone

        return each_alone(self, lm, requests, job)
