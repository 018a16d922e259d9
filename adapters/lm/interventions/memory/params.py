"""What a spec can say of memories beside a model. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from .....components import NOT_IDENTITY, DataFile, Strict
from .. import Intervention

if TYPE_CHECKING:
    from .....job import Job
    from ...model import LanguageModel
    from ...patch import Patch
    from ...requests import EditRequest
    from ...scoring import Unusable
    from .. import State
    from .texts import Texts

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


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

    version: ClassVar[int] = 2
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


class Projection(Strict):
    """The projection that a changed copy stands beside."""

    module: Literal["mlp_up", "mlp_gate", "mlp_down", "attention_out"] = "mlp_down"
    layer: Annotated[int, Field(ge=0)]


class Margins(Strict):
    """What the distance Δ between the outputs of memory and module should be, in the units of the output. The loss is
    max(0, Δ(irrelevant) - alpha) + max(0, beta - Δ(edit)) + max(0, gamma - Δ(edit) + Δ(irrelevant)), each term the mean
    over the texts (the pairs) at which it is positive."""

    alpha: NotNegative = 5.0
    beta: NotNegative = 20.0
    gamma: NotNegative = 10.0


class Merge(Strict):
    """How several memories become one; see merging.py."""

    rule: Literal["ties", "linear", "slerp"] = "ties"
    density: Share = 0.53
    """`ties`: the share of a memory's changes that is kept, the largest in magnitude."""
    earlier: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Weight of what was merged before, where new memories are merged into it; they share the rest. Memories that are
    merged for the first time weigh the same."""


class Irrelevant(Strict):
    """Texts at which a memory should say what the module says. A request's own `keep` prompts go before them."""

    file: DataFile | None = None
    """A text a line. When null, texts that the untouched model samples (the paper takes questions from Natural
    Questions)."""
    samples: Count = 200
    """Texts to choose from: the file's first ones, or so many sampled."""
    tokens: Annotated[int, Field(ge=2)] = 16
    """Longest text: a file's are cut off there, sampled ones have this length."""
    each: Count = 1
    """Texts beside each request, drawn from those that do not contain its subject."""


class Wise(Intervention):
    """WISE (Wang et al. 2024, arXiv 2405.14768): side memories, changed copies of a weight, and a router.

    A request is learned by gradient descent in a copy W' of the projection's weight W: the negative log-likelihood of
    the target where W' stands in for W, and margins for the distance Δ of their outputs (see `Margins`), by which the
    router tells prompts that were edited. `save_freq` requests make a shard, which has a random mask of its own that
    their gradients pass through; so shards overlap little. After `merge_freq` requests the last shards are merged:
    into the one memory of `merge`, or into one more of `retrieve`. The router uses, for each prompt alone, the memory
    with the largest Δ above `act_ratio` times the smallest Δ of the requests that it has learned (sidememory.py).

    Decided here, where the published code does otherwise: Δ is taken over a prompt's tokens alone, in learning as in
    use (there over the padded batch, targets included); the target's likelihood is the mean over its tokens (there a
    token too many is counted); the smallest Δ is that of the finished memory (there of the one before its last update);
    a shard is used from its first request on (with `merge` it waits there until it is merged), and only a memory above
    its own threshold competes.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    type: Literal["wise"]
    site: Projection
    keep: Literal["merge", "retrieve"]
    """WISE-Merge keeps one merged memory, WISE-Retrieve as many as there were merges."""
    distance: Literal["outputs", "activated"] = "outputs"
    """Δ between the outputs (the paper), or behind the model's activation function (the published code)."""
    margins: Margins = Margins()
    act_ratio: Positive = 0.88
    """A memory's threshold, as a share of the smallest Δ of its requests at the end of their descent."""
    lr: Positive = 1.0
    """Of plain gradient descent."""
    steps: Count = 70
    """Most updates for a request."""
    stop_loss: NotNegative = 0.02
    """A descent ends once the loss is at most this and has moved by at most `stop_change`."""
    stop_change: NotNegative = 1e-4
    weight_decay: NotNegative = 0.0
    """Pulls W' to zero. The published code has 1e-5, which moves also what the mask should hold: tiny changes that
    `ties` then takes for entries, and averages with those of other shards."""
    norm_constraint: Positive = 1.0
    """Largest change of an entry of the weight."""
    mask_ratio: Share = 0.2
    """Share of the entries of W' that a shard's gradients reach."""
    save_freq: Count = 500
    """Requests in a shard."""
    merge_freq: Count = 1000
    """Requests after which shards are merged; a multiple of `save_freq`."""
    merge: Merge = Merge()
    context_lengths: Annotated[tuple[Count, ...], Field(min_length=1)] = (5, 10)
    """A request is learned as it stands and behind texts that the untouched model samples: for each of these lengths
    (in tokens), one behind each beginning."""
    context_beginnings: tuple[str, ...] = ("I", "You", "Because", "Yes", "Q:")
    """First words; an empty one, or one that the tokenizer does not know, begins a text. With none there is only the
    request as it stands."""
    irrelevant: Irrelevant = Irrelevant()
    _known: dict[str, Texts] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _whole_shards(self) -> Wise:
        if self.merge_freq % self.save_freq:
            raise ValueError(f"merge_freq {self.merge_freq} must be a multiple of save_freq {self.save_freq}")
        return self

    def prepare(self, lm: LanguageModel, job: Job) -> None:
        """Contexts and irrelevant texts of the untouched model. Raises Skip before, when it lacks the projection."""
        from ...architecture import linear

        linear(lm.model, self.site.layer, self.site.module)
        self._texts(lm, job)

    def check(self, lm: LanguageModel, request: EditRequest, job: Job) -> None:
        """The request must fit the model's context behind each of its contexts."""
        self._texts(lm, job).rows(lm, request)

    def apply(self, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job) -> tuple[Patch, State]:
        """Learn the requests one after another; the patch has all memories, and stands in place of an earlier one."""
        from .wise import carried_out

        return carried_out(self, lm, requests, self._texts(lm, job), state, job)

    def _texts(self, lm: LanguageModel, job: Job) -> Texts:
        """Made once for each model and seed, and kept as long as this object."""
        from .texts import texts

        key = f"{job.fingerprints['subject']} {job.seed}"
        if key not in self._known:
            found = texts(self, lm, job)
            self._known.clear()
            self._known[key] = found
        return self._known[key]
