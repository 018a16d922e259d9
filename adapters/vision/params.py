"""What a spec can say of a network that looks at images. Nothing heavy is imported here.

A network is (branches of image × priors) × backbone × fusion × loss × recipe; see networks.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from ...components import DataFile, Strict
from .names import known_backbone


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError(f"{value} is even; a window needs a centre, so take an odd number")
    return value


Odd = Annotated[int, Field(ge=1, le=999), AfterValidator(_odd)]
"""Side of a square window, in pixels of the network's input."""
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class DarkChannel(Strict):
    """Least of the three colours in a window (He, Sun & Tang 2009): high where haze or glare covers the picture."""

    type: Literal["dark_channel"]
    patch: Odd = 15
    mask: bool = True
    """Leave what is outside the field of view out of the window; else its black makes a dark rim."""


class BrightChannel(Strict):
    """Greatest of the three colours in a window: low where the picture is underexposed."""

    type: Literal["bright_channel"]
    patch: Odd = 15
    mask: bool = True


class LargeStructures(Strict):
    """Bright and large: optic disc and large exudates; the opened green channel above its median background."""

    type: Literal["large_structures"]
    opening: Odd = 5
    background: Annotated[Odd, Field(ge=3, le=255)] = 61
    gain: Positive = 4.0
    """Contrast is multiplied by this before it is cut off at 255."""


class TinyStructures(Strict):
    """Dark and thin: vessels; the black top-hat of the green channel."""

    type: Literal["tiny_structures"]
    size: Odd = 9
    gain: Positive = 5.0


Prior = Annotated[
    DarkChannel | BrightChannel | LargeStructures | TinyStructures,
    Field(discriminator="type"),
]
"""A map of the picture that is made without learning; see priors.py."""


class Branch(Strict):
    """One view of the picture, with a backbone of its own."""

    image: Literal["rgb", "hsv", "lab"] = "rgb"
    priors: tuple[Prior, ...] = ()
    embed: Literal["start_layer", "input"] = "start_layer"
    """`start_layer`: the output of the first convolution is multiplied by 1 + the sum of the priors (no parameters);
    `input`: priors are further input channels."""


class Backbone(Strict):
    """What turns an image into features."""

    name: str
    """`tiny_cnn`, which is ours and small, or any name that timm knows."""
    pretrained: bool = False
    """Start from the weights that timm names for it; from the local cache, or the hub."""
    weights: DataFile | None = None
    """Start from a safetensors file of the backbone's weights."""

    _known = field_validator("name")(known_backbone)

    @model_validator(mode="after")
    def _one_start(self) -> Backbone:
        if self.pretrained and self.weights is not None:
            raise ValueError("`pretrained` and `weights` exclude each other")
        return self


class Loss(Strict):
    """What training makes small."""

    type: Literal["cross_entropy", "focal", "binary", "ordinal"] = "cross_entropy"
    """`focal`: Lin et al. 2017; `binary`: a sigmoid for each class, whose outputs need not sum to one, as in the EyeQ
    code; `ordinal`: cumulative probabilities of ordered classes (Cao et al. 2020, CORAL's targets)."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: each class weighs n / (classes · its count)."""
    label_smoothing: Share = 0.0
    focus: Annotated[float, Field(ge=0)] = 2.0
    """γ of `focal`."""
    heads: tuple[float, ...] = ()
    """Weights of the losses of the fusion `predictions`: each branch, their features together, the final one."""


class RatingLoss(Strict):
    """The same for a score."""

    type: Literal["mse", "mae", "huber"] = "mse"
    heads: tuple[float, ...] = ()


class Augment(Strict):
    """Random geometry of training images; priors are moved with them."""

    flip: bool = True
    """Left-right and up-down, each with probability ½."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest angle in degrees, either way."""
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of the area that a random square crop keeps; 1 crops nothing."""


class Recipe(Strict):
    """How a network is trained."""

    epochs: Annotated[int, Field(ge=1)] = 15
    batch_size: Annotated[int, Field(ge=2)] = 32
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Positive = 3e-3
    momentum: Share = 0.0
    """Of `sgd`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    schedule: Literal["constant", "cosine", "one_cycle"] = "one_cycle"
    augment: Augment = Augment()
    patience: Annotated[int | None, Field(ge=1)] = None
    """Stop after so many epochs without a better validation loss; the best epoch's weights are kept in any case."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of activations, under autocast; weights stay float32."""


class Design(Strict):
    """A whole network, but for its loss."""

    size: Annotated[int, Field(ge=32, le=2048)] = 224
    """Side of the square input, in pixels."""
    backbone: Backbone
    branches: Annotated[tuple[Branch, ...], Field(min_length=1)] = (Branch(),)
    fusion: Literal["features", "predictions"] = "features"
    """`features`: features of all branches side by side, one classifier; `predictions`: a classifier for each branch,
    one for their features, and one for all these predictions (MCF-Net)."""
    normalise: Literal["imagenet", "half", "eyeq"] = "imagenet"
    """`imagenet`: (x/255 − mean) / std; `half`: (x/255 − ½) / ½; `eyeq`: imagenet's mean and std, but of x in 0…255,
    as the EyeQ code does by mistake."""
    recipe: Recipe = Recipe()

    @property
    def heads(self) -> int:
        """Classifiers: one, or one for each branch, one for their features, and the final one."""
        return 1 if self.fusion == "features" else len(self.branches) + 2


FeatureGroup = Literal["naturalness", "structure", "sharpness", "illumination", "colour"]


class Handcrafted(Strict):
    """Measures of a picture that need no learning; see features.py."""

    type: Literal["handcrafted"]
    groups: Annotated[tuple[FeatureGroup, ...], Field(min_length=1)] = (
        "naturalness",
        "structure",
        "sharpness",
        "illumination",
        "colour",
    )


class Frozen(Strict):
    """Pooled features of a backbone that is not trained further."""

    type: Literal["backbone"]
    backbone: Backbone
    normalise: Literal["imagenet", "half"] = "imagenet"


Features = Annotated[Handcrafted | Frozen, Field(discriminator="type")]


class Linear(Strict):
    """Logistic regression of classes, ridge regression of scores; features are standardised first."""

    type: Literal["linear"]
    strength: Positive = 1.0
    """Inverse strength of the L2 penalty (scikit-learn's C; 1/α of the ridge)."""


class Forest(Strict):
    """Random forest (Breiman 2001)."""

    type: Literal["forest"]
    trees: Annotated[int, Field(ge=1)] = 300


class SupportVectors(Strict):
    """Support vector machine with a Gaussian kernel, features standardised; class probabilities by Platt scaling."""

    type: Literal["svm"]
    strength: Positive = 1.0
    """scikit-learn's C."""


Learned = Annotated[Linear | Forest | SupportVectors, Field(discriminator="type")]
"""What is learned from features."""
