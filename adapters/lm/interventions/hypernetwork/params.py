"""What a spec can say of learned editors. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from .....components import NOT_IDENTITY, Strict
from .. import Intervention

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from ...scoring import Unusable
    from .. import State
    from .network import Hypernetwork

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Layer = Annotated[int, Field(ge=0)]
Role = Literal["attention_out", "mlp_up", "mlp_gate", "mlp_down"]


class Training(Strict):
    """How the network learns; with the numbers of the published code where it has a number."""

    steps: Count
    """Updates of the network. The published code stops by the loss on a validation split."""
    batch: Count = 10
    """Requests of an update, each edited alone."""
    lr: Positive = 1e-6
    """Adam's, for the network."""
    rate_lr: Positive = 1e-4
    """Adam's, for the learned step sizes of the edits."""
    clip: Positive = 100.0
    """Largest Euclidean norm of all gradients together."""
    edit_weight: NotNegative = 0.1
    """c_edit: of the negative log-likelihood of the target's tokens after the edit, in nats."""
    keep_weight: NotNegative = 1.0
    """c_loc: of KL(before ‖ after) on a text that shall stay, mean over its tokens, in nats."""


class Mend(Intervention):
    """MEND (Mitchell et al. 2021, arXiv 2110.11309): a network turns the gradient of a request into its edit.

    The gradient of a weight is a sum over tokens of δ uᵀ: u what goes into the projection, δ the gradient of the loss
    at what comes out. Both are normalised, by mean and deviation of the training requests' tokens, and joined. Two
    layers z + max(0, s (U V z + b) + o), U V of low rank, which are the identity before training, map them to ũ and
    δ̃. The edit is the sum of -rate · δ̃ ũᵀ. Weights of equal shape share a network and its normalisation; each has
    its own s, o and rate.

    The network is trained in `prepare`, on the task's training split: edited by a training request, the model shall say
    the same target after another prompt (one of a request of the same subject and target; the request's own where
    there is none) and say what it did before at one of the texts that the request keeps. Nothing is differentiated
    twice: u and δ count as data.

    Signs: as in the paper, an edit is subtracted, so that a positive rate descends from the start; the published code
    adds it, and learns which way is down. A dimension that never varied in training is centred and not divided.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests", "training_pairs"})
    type: Literal["mend"]
    modules: Annotated[tuple[Role, ...] | None, Field(min_length=1)] = None
    """Which projections of a block are edited; all of its MLP where nothing is said."""
    layers: Annotated[tuple[Layer, ...] | None, Field(min_length=1)] = None
    """In which blocks; the last three, as published, where nothing is said."""
    rank: Count = 1920
    """Rank of U V, at most the width of z."""
    edit_lr: Positive = 1e-4
    """The rate of every weight before training."""
    training: Training
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 16
    """Requests in one forward pass; its effect is float noise."""
    _known: list[Any] = PrivateAttr(default_factory=list)

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """Train the network. Raises Skip where the model lacks a projection, or there is nothing to learn from."""
        self._network(lm, job)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A low-rank patch: the sum of the requests' edits. Raises Unusable, Skip."""
        from ...scoring import encode
        from .mend import together

        network = self._network(lm, job)
        return together(self, lm, network, [encode(lm, r.prompt, r.target_new) for r in requests]), state

    def apply_each(self, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[Patch | Unusable]:
        """See `Intervention.apply_each`; the gradients of many requests are taken in one pass."""
        from ...scoring import Unusable, encode
        from .mend import each_alone

        rows: list[Any] = []
        for request in requests:
            try:
                rows.append(encode(lm, request.prompt, request.target_new))
            except Unusable as error:
                rows.append(error)
        usable = [row for row in rows if not isinstance(row, Unusable)]
        made = iter(each_alone(self, lm, self._network(lm, job), usable))
        return [row if isinstance(row, Unusable) else next(made) for row in rows]

    def _network(self, lm: LanguageModel, job: Job) -> Hypernetwork:
        """Read once for each model, seed and training split, and kept as long as this object."""
        from .mend import trained

        key = [job.fingerprints["subject"], job.seed]
        if not self._known or self._known[0] != key or self._known[1] is not job.training:
            self._known[:] = [key, job.training, trained(self, lm, job)]
        network: Hypernetwork = self._known[2]
        return network
