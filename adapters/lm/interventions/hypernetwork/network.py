"""MEND's network: from the tokens' gradients to the factors of an edit. Section 3 of arXiv 2110.11309."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from .gradients import Factors, TokenGradients

Shape = tuple[int, int]
"""(outputs, inputs) of a weight."""

LAYERS = ("first", "second")
LEARNED = ("u", "v", "bias", "scale", "offset")
EPSILON = 1e-7
"""Added to a deviation, as in the published code."""


class Hypernetwork:
    """The networks of all edited weights, one for each shape, and their normalisation.

    Tensors by name: `rates`, shape (weights,); for each shape `OUTxIN.LAYER.u` (width, rank), `.v` (rank, width),
    `.bias` (width,), and of each of its weights `.scale`, `.offset` (weights, width), the width being that of inputs
    and outputs together; and what was seen in training, in float64: `OUTxIN.count`, `.mean`, `.squares` (sum of
    squared distances from the mean), shape (width,).
    """

    def __init__(self, shapes: Sequence[Shape], tensors: Mapping[str, torch.Tensor]) -> None:
        self._shapes, self.tensors = list(shapes), dict(tensors)
        names = [name_of(shape) for shape in shapes]
        self._places = [(name, names[:number].count(name)) for number, name in enumerate(names)]

    def learned(self) -> list[torch.Tensor]:
        """What training moves, but for the rates."""
        return [t for name, t in self.tensors.items() if name.split(".")[-1] in LEARNED]

    def observe(self, gradients: Sequence[TokenGradients]) -> None:
        """Take the tokens of one batch, of every weight, into the mean and deviation of their shape."""
        for (name, _), tokens in zip(self._places, gradients, strict=True):
            new = _joined(tokens).double()
            if not len(new):
                continue
            count, mean, squares = (self.tensors[f"{name}.{what}"] for what in ("count", "mean", "squares"))
            total, away = count + len(new), new.mean(0) - mean
            spread = (new - new.mean(0)).square().sum(0)
            self.tensors[f"{name}.squares"] = squares + spread + away.square() * count * len(new) / total
            self.tensors[f"{name}.mean"] = mean + away * len(new) / total
            self.tensors[f"{name}.count"] = total

    def normalised(self, weight: int, tokens: TokenGradients) -> torch.Tensor:
        """Inputs and gradients of each token, joined, in deviations from the mean; shape (tokens, width)."""
        name, _ = self._places[weight]
        count, mean, squares = (self.tensors[f"{name}.{what}"] for what in ("count", "mean", "squares"))
        deviation = (squares / (count - 1).clamp(min=1)).sqrt()
        # Divided by almost nothing, a neuron that was silent throughout training would drown all others when it fires.
        divisor = torch.where(deviation > 0, deviation + EPSILON, 1.0)
        return ((_joined(tokens) - mean) / divisor).float()

    def factors(self, weight: int, tokens: TokenGradients) -> Factors:
        """The edit of a weight; differentiable in the learned tensors."""
        name, place = self._places[weight]
        z = self.normalised(weight, tokens)
        for layer in LAYERS:
            u, v, bias, scale, offset = (self.tensors[f"{name}.{layer}.{what}"] for what in LEARNED)
            before = scale[place] * (z @ v.T @ u.T + bias) + offset[place]
            # All of `before` is 0 at first; `relu` and `clamp` have no gradient there, and nothing would be learned.
            z = z + torch.where(before >= 0, before, 0.0)
        outputs, inputs = self._shapes[weight]
        right, left = z.split([inputs, outputs], 1)
        return Factors(-self.tensors["rates"][weight] * left, right, tokens.counts)

    def arrays(self) -> dict[str, np.ndarray]:
        """All tensors, as an artifact keeps them."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.tensors.items()}


def untrained(
    shapes: Sequence[Shape], rank: int, rate: float, draws: Callable[[str], np.random.Generator], device: torch.device
) -> Hypernetwork:
    """The identity: U, b and o are 0, s is 1, V drawn from N(0, 1) with the generator of its name."""
    tensors = {"rates": torch.full((len(shapes),), rate, device=device)}
    names = [name_of(shape) for shape in shapes]
    for name, (outputs, inputs) in zip(names, shapes, strict=True):
        if f"{name}.count" in tensors:
            continue
        width, alike = outputs + inputs, names.count(name)
        for layer in LAYERS:
            low = min(rank, width)
            v = draws(f"{name}.{layer}").standard_normal((low, width), dtype=np.float32)
            tensors |= {
                f"{name}.{layer}.u": torch.zeros(width, low, device=device),
                f"{name}.{layer}.v": torch.from_numpy(v).to(device),
                f"{name}.{layer}.bias": torch.zeros(width, device=device),
                f"{name}.{layer}.scale": torch.ones(alike, width, device=device),
                f"{name}.{layer}.offset": torch.zeros(alike, width, device=device),
            }
        tensors[f"{name}.count"] = torch.zeros((), dtype=torch.float64, device=device)
        for what in ("mean", "squares"):
            tensors[f"{name}.{what}"] = torch.zeros(width, dtype=torch.float64, device=device)
    return Hypernetwork(shapes, tensors)


def name_of(shape: Shape) -> str:
    """`OUTxIN`: what weights that share a network have in common."""
    return f"{shape[0]}x{shape[1]}"


def _joined(tokens: TokenGradients) -> torch.Tensor:
    return torch.cat([tokens.inputs, tokens.outputs], 1)
