"""Where a network looks: Grad-CAM (Selvaraju et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from ...errors import ModelError
from . import losses
from .backbones import Encoder
from .networks import Network, restored
from .params import Design, Loss, RatingLoss

BATCH = 32


def grad_cam(
    design: Design,
    loss: Loss | RatingLoss,
    classes: int,
    state: Mapping[str, np.ndarray],
    planes: np.ndarray,
    of_class: int,
    device: str,
) -> np.ndarray:
    """Maps (n, S, S), float32, 0…1, of what speaks for a class (`losses.score`) in planes (n, C, S, S), uint8.

    The last map of each branch, its channels weighted by their mean gradient and summed, the positive part of it,
    bilinearly enlarged; the mean of the branches, divided by its maximum over the image. A map without any positive
    part stays 0. Of a transformer whose answer is read off its class token alone, the map that the last block reads:
    what comes after the places' last exchange with that token has no gradient. Raises ModelError when the state is of
    another design, or the backbone has no square map.
    """
    outputs = losses.outputs(loss, classes)
    network = restored(design, outputs, losses.activation(loss), state, device)
    found = [np.empty((0, design.size, design.size), np.float32)]
    for start in range(0, len(planes), BATCH):
        batch = torch.from_numpy(np.array(planes[start : start + BATCH])).to(device)
        maps, logits = _watched(network, batch)
        gradients = torch.autograd.grad(losses.score(loss, logits, of_class).sum(), maps)
        branches = zip(network.encoders, maps, gradients, strict=True)
        looks = torch.stack([_look(encoder, m.detach(), g, design.size) for encoder, m, g in branches]).mean(0)
        most = looks.amax((1, 2), keepdim=True)
        found.append(torch.where(most > 0, looks / most, 0).cpu().numpy())
    return np.concatenate(found)


def _look(encoder: Encoder, maps: torch.Tensor, gradients: torch.Tensor, size: int) -> torch.Tensor:
    """One branch's map (n, size, size), not scaled."""
    grid, slope = encoder.grid(maps), encoder.grid(gradients)
    positive = (slope.mean((2, 3), keepdim=True) * grid).sum(1, keepdim=True).relu()
    return interpolate(positive, (size, size), mode="bilinear", align_corners=False)[:, 0]


def _watched(network: Network, planes: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Maps of the branches, and logits of the answer that depend on them. The network's weights need no gradient."""
    watched: dict[int, torch.Tensor] = {}
    handles = []
    for i, encoder in enumerate(network.encoders):
        block = _before_class_token(encoder)
        if block is not None:

            def watch(module: torch.nn.Module, inputs: tuple[Any, ...], i: int = i) -> tuple[Any, ...]:
                watched[i] = inputs[0].detach().requires_grad_()
                return (watched[i], *inputs[1:])

            handles.append(block.register_forward_pre_hook(watch))
    try:
        maps = network.maps(planes)
    finally:
        for handle in handles:
            handle.remove()
    if not all(isinstance(m, torch.Tensor) for m in maps):
        raise ModelError("the backbone has several last maps, so that there is no one map to look at")
    maps = [m if i in watched else m.requires_grad_() for i, m in enumerate(maps)]
    return [watched.get(i, m) for i, m in enumerate(maps)], network.predictions(maps)[-1]


def _before_class_token(encoder: Encoder) -> torch.nn.Module | None:
    """The last block of a transformer that answers by its class token; None for any other backbone."""
    if getattr(encoder.body, "global_pool", "") != "token" or not hasattr(encoder.body, "blocks"):
        return None
    last: torch.nn.Module = encoder.body.blocks[-1]
    return last
