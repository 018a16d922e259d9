"""The network of learned editors: from tokens' gradients to the factors of an edit. Section 3 of arXiv 2110.11309."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from .gradients import Factors, TokenGradients
from .normalisation import EPSILON, Normalisation, Shape, name_of, nothing_seen

__all__ = ["BLOCKS", "EPSILON", "LAYERS", "LEARNED", "Hypernetwork", "Scaled", "Shape", "name_of", "untrained"]

BLOCKS = ("first", "second", "third", "fourth")
LAYERS = BLOCKS[:2]
"""The residual layers of MEND."""
LEARNED = ("u", "v", "bias", "scale", "offset")

Scaled = Literal["inside", "outside"]
"""Where a weight's own scale and offset stand: within max(0, ·), as in MEND, or around it, as in MALMEN."""


class Hypernetwork(Normalisation):
    """The networks of all edited weights, one for each shape, and their normalisation.

    Tensors by name, beside those of `Normalisation`: `rates`, shape (weights,); for each shape `OUTxIN.LAYER.u` (width,
    rank), `.v` (rank, width), `.bias` (width,), and of each of its weights `.scale`, `.offset` (weights, width); and
    where the network learns a penalty, `penalties`, its logarithm for each weight.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        tensors: Mapping[str, torch.Tensor],
        layers: Sequence[str] = LAYERS,
        scaled: Scaled = "inside",
    ) -> None:
        super().__init__(shapes, tensors)
        self._layers, self._scaled = layers, scaled

    def learned(self) -> list[torch.Tensor]:
        """What training moves, but for rates and penalties."""
        return [t for name, t in self.tensors.items() if name.split(".")[-1] in LEARNED]

    def passed(self, weight: int, tokens: TokenGradients) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network makes of the normalised inputs and output gradients of each token."""
        name, place = self._places[weight]
        z = self.normalised(weight, tokens)
        for layer in self._layers:
            u, v, bias, scale, offset = (self.tensors[f"{name}.{layer}.{what}"] for what in LEARNED)
            low = z @ v.T @ u.T + bias
            # All of it is 0 at first; `relu` has no gradient there, and nothing would be learned.
            if self._scaled == "inside":
                before = scale[place] * low + offset[place]
                z = z + torch.where(before >= 0, before, 0.0)
            else:
                z = z + scale[place] * torch.where(low >= 0, low, 0.0) + offset[place]
        return self.split(weight, z)

    def factors(self, weight: int, tokens: TokenGradients) -> Factors:
        """MEND's edit of a weight; differentiable in the learned tensors."""
        right, left = self.passed(weight, tokens)
        return Factors(-self.tensors["rates"][weight] * left, right, tokens.counts)

    def arrays(self) -> dict[str, np.ndarray]:
        """All tensors, as an artifact keeps them."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.tensors.items()}


def untrained(
    shapes: Sequence[Shape],
    rank: int,
    rate: float,
    draws: Callable[[str], np.random.Generator],
    device: torch.device,
    layers: Sequence[str] = LAYERS,
    scaled: Scaled = "inside",
) -> Hypernetwork:
    """The identity: U, b and o are 0, s is 1, V drawn from N(0, 1) with the generator of its name."""
    tensors = {"rates": torch.full((len(shapes),), rate, device=device)}
    names = [name_of(shape) for shape in shapes]
    for name, (outputs, inputs) in dict(zip(names, shapes, strict=True)).items():
        width, alike = outputs + inputs, names.count(name)
        for layer in layers:
            low = min(rank, width)
            v = draws(f"{name}.{layer}").standard_normal((low, width), dtype=np.float32)
            tensors |= {
                f"{name}.{layer}.u": torch.zeros(width, low, device=device),
                f"{name}.{layer}.v": torch.from_numpy(v).to(device),
                f"{name}.{layer}.bias": torch.zeros(width, device=device),
                f"{name}.{layer}.scale": torch.ones(alike, width, device=device),
                f"{name}.{layer}.offset": torch.zeros(alike, width, device=device),
            }
    return Hypernetwork(shapes, tensors | nothing_seen(shapes, device), layers, scaled)
