"""A network of a design: branches of image and priors, a backbone each, and how they come together.

Priors reach a branch as further channels, or at its start: the output of its first convolution is multiplied by one
plus their sum, which adds no parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from .backbones import build
from .inputs import layout, scaling
from .params import Design
from .weights import load_tensors

Activation = Callable[[torch.Tensor], torch.Tensor]
"""What makes predictions (n, outputs) of logits; see `losses.activation`."""


class Network(nn.Module):
    """Planes (n, C, S, S) of bytes, or floats 0…255 → logits of each head, the last of which is the answer.

    `fusion: features` has one head. `predictions` (MCF-Net: Fu et al. 2019) has one for each branch, one for the
    features of all together, and a last linear layer that is given the *activated* predictions of these.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, design: Design, outputs: int, activation: Activation, weights_file: Path | None = None) -> None:
        """Initial weights come from torch's generator, and from `weights_file` those of every branch's backbone.

        Raises ModelError when the backbone cannot be built; see `backbones.build`.
        """
        super().__init__()
        order = layout(design)
        factor, summand = scaling(design)
        self.register_buffer("scale", torch.tensor(factor)[:, None, None], persistent=False)
        self.register_buffer("shift", torch.tensor(summand)[:, None, None], persistent=False)
        self.branches, self.activation = order.branches, activation
        self.encoders = nn.ModuleList(
            build(design.backbone, len(branch.inputs), design.size, weights_file) for branch in order.branches
        )
        widths = [int(encoder.num_features) for encoder in self.encoders]
        self.heads: nn.ModuleList | None = None
        last = sum(widths)
        if design.fusion == "predictions":
            self.heads = nn.ModuleList(nn.Linear(width, outputs) for width in (*widths, last))
            last = outputs * len(self.heads)
        self.last = nn.Linear(last, outputs)

    def forward(self, planes: torch.Tensor) -> list[torch.Tensor]:
        return self.predictions(self.maps(planes))

    def maps(self, planes: torch.Tensor) -> list[torch.Tensor]:
        """The last map of each branch, as its backbone lays it out."""
        pixels = torch.addcmul(self.shift, planes.to(self.scale, memory_format=torch.channels_last), self.scale)
        found = []
        for encoder, branch in zip(self.encoders, self.branches, strict=True):
            image = pixels if branch.inputs == tuple(range(pixels.shape[1])) else pixels[:, branch.inputs]
            if branch.gates:
                with _multiplied(encoder.first, 1 + pixels[:, branch.gates].sum(1, keepdim=True)):
                    found.append(encoder.maps(image))
            else:
                found.append(encoder.maps(image))
        return found

    def predictions(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Logits (n, outputs) of each head from the last map of each branch."""
        features = [encoder.pool(found) for encoder, found in zip(self.encoders, maps, strict=True)]
        together = torch.cat(features, 1)
        if self.heads is None:
            return [self.last(together)]
        logits = [head(found) for head, found in zip(self.heads, [*features, together], strict=True)]
        return [*logits, self.last(torch.cat([self.activation(found) for found in logits], 1))]


@contextmanager
def _multiplied(convolution: nn.Module, gate: torch.Tensor) -> Iterator[None]:
    """The convolution's output is multiplied by the gate (n, 1, S, S), averaged down to its resolution."""

    def multiply(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output * adaptive_avg_pool2d(gate, output.shape[-2:])

    handle = convolution.register_forward_hook(multiply)
    try:
        yield
    finally:
        handle.remove()


def untrained(design: Design) -> Design:
    """The same network, its backbone's weights left to chance: to be replaced, or of no matter."""
    backbone = design.backbone.model_copy(update={"pretrained": False, "weights": None})
    return design.model_copy(update={"backbone": backbone})


def restored(
    design: Design, outputs: int, activation: Activation, state: Mapping[str, np.ndarray], device: str
) -> Network:
    """A trained network, ready to predict. Raises ModelError when the state is that of another design."""
    # The weights drawn here are replaced; torch's generator must not notice.
    with torch.random.fork_rng(devices=[]):
        network = Network(untrained(design), outputs, activation)
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    load_tensors(network, tensors, f"not the weights of this network of {design.backbone.name}")
    return network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def state_of(network: nn.Module) -> dict[str, np.ndarray]:
    """Its tensors by name, on the CPU."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in network.state_dict().items()}
