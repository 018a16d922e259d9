"""Mean and deviation of what the tokens of edits look like, as they are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from .gradients import TokenGradients

Shape = tuple[int, int]
"""(outputs, inputs) of a weight."""

EPSILON = 1e-7
"""Added to a deviation, as in the published code of MEND and MALMEN."""
SEEN = ("count", "mean", "squares")


class Normalisation:
    """Statistics of the inputs and output gradients of edited weights; those of equal shape are counted together.

    Tensors by name, in float64: for each shape `OUTxIN.count`, `.mean` and `.squares` (sum of squared distances from
    the mean), shape (width,), the width being that of inputs and outputs together. Observing makes new tensors and
    leaves the old ones as they were.
    """

    def __init__(self, shapes: Sequence[Shape], tensors: Mapping[str, torch.Tensor]) -> None:
        self._shapes, self.tensors = list(shapes), dict(tensors)
        names = [name_of(shape) for shape in shapes]
        self._places = [(name, names[:number].count(name)) for number, name in enumerate(names)]

    def observe(self, gradients: Sequence[TokenGradients]) -> None:
        """Take the tokens of one batch, of every weight, into the mean and deviation of their shape.

        Chan, Golub and LeVeque's way to join two samples: the same as over all tokens at once.
        """
        for (name, _), tokens in zip(self._places, gradients, strict=True):
            new = _joined(tokens).double()
            if not len(new):
                continue
            count, mean, squares = (self.tensors[f"{name}.{what}"] for what in SEEN)
            total, away = count + len(new), new.mean(0) - mean
            spread = (new - new.mean(0)).square().sum(0)
            self.tensors[f"{name}.squares"] = squares + spread + away.square() * count * len(new) / total
            self.tensors[f"{name}.mean"] = mean + away * len(new) / total
            self.tensors[f"{name}.count"] = total

    def normalised(self, weight: int, tokens: TokenGradients) -> torch.Tensor:
        """Inputs and gradients of each token, joined, in deviations from the mean; shape (tokens, width)."""
        name, _ = self._places[weight]
        count, mean, squares = (self.tensors[f"{name}.{what}"] for what in SEEN)
        deviation = (squares / (count - 1).clamp(min=1)).sqrt()
        # Divided by almost nothing, a neuron that was silent throughout training would drown all others when it fires.
        divisor = torch.where(deviation > 0, deviation + EPSILON, 1.0)
        return ((_joined(tokens) - mean) / divisor).float()

    def split(self, weight: int, joined: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(inputs, outputs) of what `normalised` joined."""
        outputs, inputs = self._shapes[weight]
        first, second = joined.split([inputs, outputs], 1)
        return first, second

    def seen(self) -> dict[str, torch.Tensor]:
        """The statistics alone, which a sequence continues from."""
        return {name: tensor for name, tensor in self.tensors.items() if name.split(".")[-1] in SEEN}


def nothing_seen(shapes: Sequence[Shape], device: torch.device) -> dict[str, torch.Tensor]:
    """The tensors of a `Normalisation` before the first token."""
    tensors = {}
    for outputs, inputs in shapes:
        name, width = name_of((outputs, inputs)), outputs + inputs
        tensors[f"{name}.count"] = torch.zeros((), dtype=torch.float64, device=device)
        for what in ("mean", "squares"):
            tensors[f"{name}.{what}"] = torch.zeros(width, dtype=torch.float64, device=device)
    return tensors


def name_of(shape: Shape) -> str:
    """`OUTxIN`: what weights that share a network, or statistics, have in common."""
    return f"{shape[0]}x{shape[1]}"


def _joined(tokens: TokenGradients) -> torch.Tensor:
    return torch.cat([tokens.inputs, tokens.outputs], 1)
