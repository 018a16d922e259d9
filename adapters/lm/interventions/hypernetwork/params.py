"""What a spec can say of editors that work with gradients, learned or not. Nothing heavy is imported here."""

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


class JointTraining(Training):
    """How a network learns whose edits are joined by least squares; defaults as MALMEN is published."""

    lr: Positive = 1e-5
    """Adam's, for the network."""
    rate_lr: Positive = 1e-5
    """Adam's, for the learned step sizes of the edits and the logarithms of the penalties."""
    clip: Positive = 1.0
    """Largest Euclidean norm of all gradients together, once for an update; RLEdit's code clips after each batch."""
    edit_weight: NotNegative = 1.0
    """Of the negative log-likelihood of the target's tokens after the edit, in nats."""
    keep_weight: NotNegative = 1.0
    """Of KL(before ‖ after) at the answer of a text that shall stay, mean over its tokens, in nats; before: the model
    as it was when the batch came."""
    sequence: Count = 1
    """Batches of an update, each carried out on the model that those before it have changed. No gradient goes from one
    batch's losses through the changes of those before."""
    backtracking: Count = 1
    """So many batches of the sequence are judged after each one, itself the first."""
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Weight of a judged batch, to the power of how many came after it."""
    shift_weight: NotNegative = 0.0
    """Of the squared Euclidean norm of each batch's change of the weights. In RLEdit's released code it is added where
    it has no gradient, which is 0 here."""


class Site(Strict):
    """Projections of one kind."""

    module: Role
    """Which projection of a block."""
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    """In which blocks."""


Sites = Annotated[tuple[Site, ...], Field(min_length=1)]
Tokens = Literal["answer", "all"]


class Learned(Intervention):
    """What editors share that train a network in `prepare`, on the task's training split."""

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests", "training_requests"})
    title: ClassVar[str]
    """What messages call it."""
    _known: list[Any] = PrivateAttr(default_factory=list)

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """Train the network. Raises Skip where the model lacks a projection, or there is nothing to learn from."""
        self._network(lm, job)

    def _trained(self, lm: LanguageModel, job: Job) -> Hypernetwork:
        raise NotImplementedError

    def _network(self, lm: LanguageModel, job: Job) -> Hypernetwork:
        """Read once for each model, seed and training split, and kept as long as this object."""
        key = [job.fingerprints["subject"], job.seed]
        if not self._known or self._known[0] != key or self._known[1] is not job.training:
            self._known[:] = [key, job.training, self._trained(lm, job)]
        network: Hypernetwork = self._known[2]
        return network


class Mend(Learned):
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

    title: ClassVar[str] = "MEND"
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

    def _trained(self, lm: LanguageModel, job: Job) -> Hypernetwork:
        from .mend import network_of

        return network_of(self, lm, job)


class Malmen(Learned):
    """MALMEN (Tan et al. 2023, arXiv 2311.04661): MEND's network, whose edits are joined by least squares.

    Of the sum of many edits each token feels all: what one edit writes, the next overwrites. MALMEN asks for the one
    change of a weight that does at each edited token what that token's own edit would do, Σ |S uᵢ − vᵢ|² + λ|S|², and
    solves it by the normal equation (section 3.2). λ is learned, one for each weight, from 1 on; the residual layers
    are z + s · max(0, U V z + b) + o, as in the released code. Training is as MEND's, but the requests of an update are
    carried out together (sequences.py).

    RLEdit (Li et al. 2025, arXiv 2502.05759) is the same editor, trained on sequences of batches, with rewards that
    look back at earlier batches (`training.sequence`, `.backtracking`, `.decay`), and with statistics that go on while
    it edits: as its released code does it. A text that a batch of training changes itself is not among those that shall
    stay.
    """

    title: ClassVar[str] = "MALMEN"
    type: Literal["malmen"]
    sites: Sites
    """Which projections are edited."""
    rank: Count = 1920
    """Rank of U V, at most the width of z."""
    blocks: Annotated[int, Field(ge=1, le=4)] = 2
    """Residual layers of the network."""
    edit_lr: Positive = 1e-6
    """The rate of every weight before training."""
    tokens: Tokens = "answer"
    """`answer`: the tokens whose logits speak of the target, as published; `all`: those of the prompt too, as the
    released code can, and as EasyEdit does."""
    statistics: Literal["training", "lifelong"] = "training"
    """Mean and deviation that normalise: of the training split alone, or of all edits so far too, as in the released
    code of both methods, whose evaluation goes on counting."""
    training: JointTraining
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 16
    """Requests in one forward pass; its effect is float noise."""

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A low-rank patch, and the statistics of the sequence where they go on. Raises Unusable, Skip."""
        from ...scoring import encode
        from .malmen import edit

        rows = [encode(lm, r.prompt, r.target_new) for r in requests]
        return edit(self, lm, self._network(lm, job), rows, state)

    def _trained(self, lm: LanguageModel, job: Job) -> Hypernetwork:
        from .malmen import network_of

        return network_of(self, lm, job)


class UltraEdit(Intervention):
    """UltraEdit (Gu et al. 2025, arXiv 2505.14679): MALMEN's least squares on normalised gradients, nothing trained.

    The inputs h and the output gradients g of the edited tokens are normalised by mean and deviation of all tokens of
    the sequence so far, those of the present batch included ("lifelong normalisation"): the state of a sequence. With
    v = −lr · |h̃|² g̃ the change of a weight is (HᵀH + I)⁻¹HᵀV, H the inputs as they are.

    The loss whose gradient is taken is each request's own, the mean over its target's tokens; in the released code it
    is the mean over all of a forward batch, so that a result depends on how rows are cut. The deviation is that of all
    tokens; the released code takes for the sum of squares of a batch n times its variance, not n − 1 times. A single
    token has no deviation: its first edit is none.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["ultraedit"]
    sites: Sites
    """Which projections are edited."""
    lr: Positive = 1e-6
    """η, the size of the values."""
    penalty: Positive = 1.0
    """Of the squared norm of the change, in the least-squares problem."""
    tokens: Tokens = "answer"
    """`answer`: the tokens whose logits speak of the target, as in the paper; `all`: those of the prompt too, as in
    EasyEdit (`token: mask`)."""
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 16
    """Requests in one forward pass; its effect is float noise."""

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """A low-rank patch, and the statistics of the sequence. Raises Unusable, Skip."""
        from ...scoring import encode
        from .ultraedit import edit

        return edit(self, lm, [encode(lm, r.prompt, r.target_new) for r in requests], state)
