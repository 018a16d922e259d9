"""What turns an image into features: our small network, or any of timm's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...artifacts import cache_home
from ...digests import FileDigests
from ...errors import ModelError
from .inputs import COLOURS, colour_scaling
from .names import TINY
from .params import Backbone
from .weights import load_tensors, read_tensors, timm_file, widened

WIDTHS = (16, 32, 64, 96)
BATCH = 64
"""Images that features are made of at once."""


class TinyCNN(nn.Module):
    """Four convolutions of 3 × 3, each halving the map, with batch norm and ReLU; mean and maximum of the last map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((channels, *WIDTHS), WIDTHS, strict=False):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """The last map (n, 96, S/16, S/16) of images (n, channels, S, S)."""
        found: torch.Tensor = self.layers(x)
        return found

    def forward_head(self, maps: torch.Tensor) -> torch.Tensor:
        """Features (n, 192) of the last map."""
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)


class Encoder(nn.Module):
    """Images (n, channels, S, S) → last map → features (n, num_features)."""

    def __init__(self, body: nn.Module, first: str, num_features: int) -> None:
        """`first`: name in the body of the convolution that reads the image."""
        super().__init__()
        self.body = body
        self.num_features = num_features
        self._first = first

    @property
    def first(self) -> nn.Module:
        """The convolution that reads the image."""
        return self.body.get_submodule(self._first)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """The last map, laid out as the body does: (n, c, h, w), (n, h, w, c) or tokens (n, t, c); see `grid`."""
        found: torch.Tensor = self.body.forward_features(x)
        return found

    def pool(self, maps: torch.Tensor) -> torch.Tensor:
        """Features (n, num_features) of the last map."""
        found: torch.Tensor = self.body.forward_head(maps)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.maps(x))

    def grid(self, maps: torch.Tensor) -> torch.Tensor:
        """A map as (n, c, h, w): tokens in their square, those that stand for no place (the class token) left out.

        Raises ModelError when the tokens make no square.
        """
        if maps.dim() == 4:
            last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
            return maps.permute(0, 3, 1, 2) if last else maps
        maps = maps[:, getattr(self.body, "num_prefix_tokens", 0) :]
        side = math.isqrt(maps.shape[1])
        if side * side != maps.shape[1]:
            raise ModelError(f"{type(self.body).__name__}: {maps.shape[1]} tokens make no square map")
        return maps.transpose(1, 2).unflatten(2, (side, side))


def build(backbone: Backbone, channels: int, size: int, weights_file: Path | None) -> Encoder:
    """The backbone for images of `size` pixels a side and so many channels; random weights come from torch's generator.

    `weights_file`: a safetensors file of its weights; the first convolution's may be those of three channels, and are
    then repeated over ours. Raises ModelError, with the remedy, when timm cannot be used, has no such backbone or no
    weights of it at hand, when the file is another's, or when the backbone takes no images of this size.
    """
    body, first = (TinyCNN(channels), "layers.0") if backbone.name == TINY else _timm(backbone, channels, size)
    if backbone.name == TINY and backbone.pretrained:
        raise ModelError(
            f"{TINY} has no published weights; leave `pretrained` out, or give `weights: FILE.safetensors`"
        )
    if weights_file is not None:
        tensors = _without_classifier(body, read_tensors(weights_file))
        place = f"{first}.weight"
        if place in tensors:
            tensors[place] = widened(tensors[place], channels)
        load_tensors(body, tensors, f"{weights_file}: not the weights of {backbone.name}")
    return Encoder(body, first, _width(body, backbone.name, channels, size))


def features(
    backbone: Backbone,
    normalise: str,
    size: int,
    rgb: np.ndarray,
    weights_file: Path | None,
    device: str,
    seed: int,
) -> np.ndarray:
    """Pooled features (n, d), float32, of images (n, size, size, 3), uint8, by a backbone that is not trained further.

    Without weights of its own the backbone is a random one, drawn from the seed. Raises ModelError when it cannot be
    built.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        encoder = build(backbone, COLOURS, size, weights_file)
    encoder = encoder.to(device, memory_format=torch.channels_last).eval()
    scale, shift = (
        torch.tensor(v, dtype=torch.float32, device=device)[:, None, None] for v in colour_scaling(normalise)
    )
    found = [np.empty((0, encoder.num_features), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(rgb), BATCH):
            batch = torch.from_numpy(np.array(rgb[start : start + BATCH])).to(device)
            # (n, S, S, 3) seen as (n, 3, S, S) is channels-last already.
            found.append(encoder(torch.addcmul(shift, batch.permute(0, 3, 1, 2).float(), scale)).cpu().numpy())
    return np.concatenate(found)


def _timm(backbone: Backbone, channels: int, size: int) -> tuple[nn.Module, str]:
    """timm's network without its classifier, and the name of its first convolution."""
    timm, known = _imported(backbone.name)
    settings: dict[str, Any] = {}
    try:
        if known is not None and known.fixed_input_size:
            settings["img_size"] = size
        if backbone.pretrained:
            file = timm_file(backbone.name, known)
            settings |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
        body: nn.Module = timm.create_model(backbone.name, num_classes=0, in_chans=channels, **settings)
    except (RuntimeError, ValueError, TypeError, AssertionError, OSError) as error:
        raise ModelError(
            f"timm cannot build {backbone.name} for {channels} channels of {size} × {size} pixels ({error}); "
            "change `size`, or take another backbone"
        ) from error
    return body, _first_convolution(body, backbone.name)


def pretrained_digest(backbone: Backbone) -> str:
    """Digest of the weights that timm names for a backbone; empty for one that starts without. Raises ModelError."""
    if not backbone.pretrained:
        return ""
    _, known = _imported(backbone.name)
    return FileDigests.load(cache_home()).of(timm_file(backbone.name, known))


def _imported(name: str) -> tuple[Any, Any]:
    """timm, and its pretrained configuration of a backbone. Raises ModelError when it cannot be imported."""
    try:
        import timm
        from timm.models import get_pretrained_cfg
    except (ImportError, RuntimeError) as error:
        # RuntimeError: torchvision was built for another torch.
        raise ModelError(
            f"backbone {name} is timm's, which cannot be imported ({error}); `pip install -U torch "
            f"torchvision timm` from one index, or use {TINY}"
        ) from error
    try:
        return timm, get_pretrained_cfg(name)
    except RuntimeError as error:
        raise ModelError(f"timm cannot build {name} ({error}); leave out what is behind the point") from error


def _first_convolution(body: nn.Module, name: str) -> str:
    """Its name: what timm says it is, else the first that there is."""
    declared = getattr(body, "default_cfg", {}).get("first_conv")
    names = [declared] if isinstance(declared, str) else list(declared or ())
    modules = dict(body.named_modules())
    names += [n for n, module in modules.items() if isinstance(module, nn.Conv2d)]
    found = next((n for n in names if n in modules), None)
    if found is None:
        raise ModelError(f"backbone {name} has no convolution that reads the image; take another backbone")
    return found


def _without_classifier(body: nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What is left of a published network's tensors when its classifier goes."""
    declared = getattr(body, "default_cfg", {}).get("classifier") or ()
    names = (declared,) if isinstance(declared, str) else tuple(declared)
    return {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[0] not in names}


@torch.no_grad()
def _width(body: nn.Module, name: str, channels: int, size: int) -> int:
    """How many features come out; found by looking at one black image, which also shows whether the size fits."""
    training, device = body.training, next(body.parameters()).device
    body.eval()
    try:
        features = body.forward_head(body.forward_features(torch.zeros(1, channels, size, size, device=device)))
    except AttributeError as error:
        raise ModelError(f"backbone {name} does not tell its last map from its features ({error})") from error
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ModelError(
            f"backbone {name} takes no images of {size} × {size} pixels ({error}); change `size`"
        ) from error
    body.train(training)
    return int(features.shape[1])
