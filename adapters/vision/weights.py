"""Weights from files. Only safetensors is read: it cannot run code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import ModelError


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file, by name. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: cannot be read as safetensors ({error}); pickled weights are never read") from error


def load_tensors(module: nn.Module, tensors: Mapping[str, torch.Tensor], what: str) -> None:
    """Give a module its tensors: all of them, and no others.

    Raises ModelError, beginning with `what`, that names the first tensor which is missing, unexpected or of another
    shape.
    """
    own = module.state_dict()
    for name, tensor in own.items():
        if name not in tensors:
            raise ModelError(f"{what}: it has no tensor {name}")
        if tensors[name].shape != tensor.shape:
            shapes = f"{tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}"
            raise ModelError(f"{what}: its tensor {name} has shape {shapes}")
    if strangers := [name for name in tensors if name not in own]:
        raise ModelError(f"{what}: its tensor {strangers[0]} has no place there")
    module.load_state_dict(dict(tensors))


def widened(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """A convolution's weight (outputs, 3, h, w) for more channels: its colours over and over, and as much less each.

    So timm does with its own; a weight of another number of channels is left as it is.
    """
    if weight.dim() != 4 or weight.shape[1] != 3 or channels <= 3:
        return weight
    return weight.repeat(1, -(-channels // 3), 1, 1)[:, :channels] * (3 / channels)


def timm_file(name: str, known: Any) -> Path:
    """The file of the weights that timm names: from the hub's local cache, else from the hub.

    `known`: timm's pretrained configuration of it. Raises ModelError that says what is missing and how to provide it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    remedy = "give `weights: FILE.safetensors`, or leave `pretrained` out"
    if known is None or not known.hf_hub_id:
        raise ModelError(f"timm names no weights of {name} on the Hugging Face hub; {remedy}")
    repository, _, revision = known.hf_hub_id.partition("@")
    file = known.hf_hub_filename or "model.safetensors"
    if not file.endswith(".safetensors"):
        raise ModelError(f"timm's weights of {name} are pickled ({file}), which can run code when read; {remedy}")
    where: dict[str, Any] = {"repo_id": repository, "filename": file, "revision": revision or None}
    try:
        return Path(hf_hub_download(**where, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(hf_hub_download(**where))
    except OSError as error:
        raise ModelError(
            f"timm's weights of {name} ({repository}: {file}) are neither in the hub's local cache nor could they be "
            f"downloaded ({type(error).__name__}); on a machine with internet `hf download {repository} {file}` and "
            f"copy the cache, or {remedy}"
        ) from error
