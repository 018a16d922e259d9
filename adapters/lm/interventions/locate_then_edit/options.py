"""What a spec of `locate_then_edit` says about site, value and covariance. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .....components import DataFile, DataFolder, Strict


def _has_a_place(template: str) -> str:
    if template.count("{}") != 1:
        raise ValueError(f"{template!r} must have exactly one {{}}, where the text is put")
    return template


def _ascending(layers: tuple[int, ...]) -> tuple[int, ...]:
    if list(layers) != sorted(set(layers)):
        raise ValueError("layers must be listed once each, the lowest first")
    return layers


Template = Annotated[str, AfterValidator(_has_a_place)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Layer = Annotated[int, Field(ge=0)]


class Site(Strict):
    """What is changed, and at which token its inputs are read."""

    module: Literal["mlp_down"] = "mlp_down"
    """The projection whose weight changes: the MLP's last."""
    token: Literal["subject_last"] = "subject_last"
    """The token whose input is the key: the last one of the subject."""
    layers: Annotated[tuple[Layer, ...], Field(min_length=1), AfterValidator(_ascending)]
    """The value is found at the last of them; each takes its share of the change."""


class Settle(Strict):
    """What happens once a target is the most probable in all contexts; in PMET's code, not in its paper."""

    nll_factor: NotNegative = 0.1
    """What the negative log-likelihood weighs at the next step; 1 again where it is not the most probable any more."""
    kl: NotNegative = 0.01
    """A request ends there once kl_factor · KL is not above this."""


class Value(Strict):
    """What should come out at the site: h + δ, where δ minimises the mean negative log-likelihood of the target over
    contexts + kl_factor · KL(after ‖ before) at a text about the subject + weight_decay · |δ| / |h|²."""

    at: Literal["mlp", "block", "attention_and_mlp"] = "mlp"
    """Where δ is added: to the MLP's output (ROME), or to the output of the whole block (MEMIT). PMET adds one to the
    attention's output and one to the MLP's, each with a weight decay and a clamp of its own, and writes the second."""
    steps: Annotated[int, Field(ge=1)] = 20
    """Evaluations of the loss; the vector moves one time less."""
    lr: Positive = 0.5
    """Of Adam."""
    kl_factor: NotNegative = 0.0625
    kl_prompt: Template = "{} is a"
    """The text about the subject, which takes the place of the braces."""
    weight_decay: NotNegative = 0.5
    clamp_norm_factor: Positive = 4.0
    """Largest |δ|, in units of |h|."""
    stop_loss: NotNegative = 0.05
    """A request ends once its loss is below."""
    settle: Settle | None = None
    """See there; without, nothing happens then."""
    loss_layer: Layer | None = None
    """The block whose output both terms are read from, through the final normalisation and the head; the last when
    null."""
    context_templates: Annotated[tuple[Template, ...], Field(min_length=1)] | None = None
    """The prompt's contexts, the bare prompt first. For a mean over groups, the bare prompt is a group, and all others
    are one. When null, they are sampled from the untouched model."""
    context_groups: (
        Annotated[tuple[Annotated[tuple[Template, ...], Field(min_length=1)], ...], Field(min_length=1)] | None
    ) = None
    """The same contexts in groups, where other groups than those two are wanted; alone, they say it all."""
    context_lengths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (5, 5, 10, 10)
    """Sampled contexts: for each of these lengths (in tokens), one behind each beginning."""
    context_beginnings: Annotated[tuple[str, ...], Field(min_length=1)] = ("The", "Therefore", "Because", "I", "You")
    """Sampled contexts: their first words; an empty one, or one that the tokenizer does not know, begins a text."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Value:
        groups = self.groups()
        if self.context_templates and groups and sorted(self.context_templates) != sorted(t for g in groups for t in g):
            raise ValueError("context_groups must hold the context_templates, each once; or leave one of them out")
        if groups and groups[0][0] != "{}":
            raise ValueError("the first context must be the bare prompt, '{}'")
        return self

    def groups(self) -> tuple[tuple[str, ...], ...] | None:
        """The given contexts in groups, or None when they are to be sampled."""
        if self.context_groups:
            return self.context_groups
        return two_groups(self.context_templates) if self.context_templates else None


def two_groups(templates: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The bare prompt, and the others, if there are any."""
    return tuple(group for group in (tuple(templates[:1]), tuple(templates[1:])) if group)


class Covariance(Strict):
    """The second moment of the projection's inputs: which keys the change shall leave alone."""

    file: DataFile | None = None
    """Made before: a safetensors file with a square tensor for each layer, or the npz file of one layer that ROME,
    MEMIT and EasyEdit publish; see adapters/lm/moments.py. How moments are estimated (`text`, `samples`, `tokens`) says
    nothing then."""
    folder: DataFolder | None = None
    """The same, with a file for each layer, found by the layer's number in its name."""
    text: DataFile | None = None
    """Estimated from this text file, a document a line. Without `file` and `text`, from texts that the untouched
    model samples (the papers take Wikipedia)."""
    samples: Annotated[int | None, Field(ge=1)] = None
    """Number of documents: of the file by default all, of sampled ones 2,000."""
    tokens: Annotated[int, Field(ge=2)] = 256
    """Longest document: a file's are cut off there, sampled ones have this length."""
    ridge: NotNegative = 0.0
    """Added to the diagonal, as a share of its mean: for models that do not use all directions."""

    @model_validator(mode="after")
    def _one_source(self) -> Covariance:
        if self.file and self.folder:
            raise ValueError("give moments by file or by folder, not both")
        return self
