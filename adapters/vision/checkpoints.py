"""Where a training run got to, in one safetensors file: enough to go on as if it had not been stopped."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...store import write_atomically
from .networks import Network


@dataclass
class Fit:
    """A training run after some epoch."""

    network: Network
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    """Epochs done."""
    best_epoch: int = 0
    """The one with the least validation loss; 0 before there is any."""
    best_loss: float = math.inf
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    """The network's tensors after the best epoch."""

    def keep(self, loss: float) -> None:
        """The epoch just done is the best."""
        self.best_epoch, self.best_loss = self.epoch, loss
        self.best = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}


def key(parts: Iterable[Any]) -> str:
    """Hex digest of what a run depends on: bytes-like parts as they are, files by their content, others as JSON."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        data = data if isinstance(data, bytes | memoryview) else json.dumps(data).encode()
        total.update(hashlib.blake2b(data).digest())
    return total.hexdigest()


def save(fit: Fit, file: Path, of: str) -> None:
    """Write it aside and rename; `of`: the run's key. A disk that takes no more costs a warning, not the run."""
    from safetensors.torch import save as to_bytes

    tensors = {f"network/{name}": tensor for name, tensor in fit.network.state_dict().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in fit.best.items()}
    for i, moments in fit.optimizer.state_dict()["state"].items():
        # SGD without momentum has None where its buffer would be.
        tensors |= {f"optimizer/{i}/{n}": value for n, value in moments.items() if value is not None}
    told = {"of": of, "epoch": fit.epoch, "best_epoch": fit.best_epoch, "best_loss": fit.best_loss.hex()}
    metadata = {"run": json.dumps({**told, "scaler": fit.scaler.state_dict()})}
    content = to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    try:
        write_atomically(file, content)
    except OSError as error:
        warnings.warn(f"checkpoint {file} cannot be written ({error.strerror})", stacklevel=2)


def restore(fit: Fit, file: Path, of: str) -> None:
    """Bring a new run to where the file's got; one of another run, or damaged, is left aside with a warning."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        return
    try:
        with safe_open(file, framework="pt") as stored:
            told = json.loads(stored.metadata()["run"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        warnings.warn(f"checkpoint {file.name} cannot be read ({error}); training begins afresh", stacklevel=2)
        return
    if told["of"] != of:
        warnings.warn(f"checkpoint {file.name} is another training run's; training begins afresh", stacklevel=2)
        return
    fit.network.load_state_dict(_below(tensors, "network/"))
    fit.best = {name: t.to(fit.network.scale.device) for name, t in _below(tensors, "best/").items()}
    fit.epoch, fit.best_epoch = told["epoch"], told["best_epoch"]
    fit.best_loss = float.fromhex(told["best_loss"])
    fit.scaler.load_state_dict(told["scaler"])
    parameters = [p for group in fit.optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _below(tensors, "optimizer/").items():
        i, _, moment = name.partition("/")
        like = parameters[int(i)]
        # In the parameter's own memory layout: kernels may round otherwise when the two differ.
        fitting = tensor if tensor.shape != like.shape else torch.empty_like(like).copy_(tensor)
        moments.setdefault(int(i), {})[moment] = fitting.detach()
    fit.optimizer.load_state_dict({"state": moments, "param_groups": fit.optimizer.state_dict()["param_groups"]})


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
