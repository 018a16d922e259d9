"""A change to a language model, as a value: it can be applied, undone, saved and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .model import LanguageModel


@dataclass(frozen=True)
class Patch:
    """Changes of weights, and text put before every prompt. The empty patch changes nothing."""

    deltas: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Parameter name to the change of the weight as stored, in the weight's shape and float32."""
    prefix: str = ""
    """Text before every prompt."""

    def prompt(self, text: str) -> str:
        """The prompt that the model is given in place of `text`."""
        return self.prefix + text

    @contextmanager
    def applied(self, lm: LanguageModel) -> Iterator[None]:
        """The model with the weights changed, inside `with`; afterwards bit for bit as before.

        The originals are saved and copied back: subtracting a change does not restore the last bits.
        """
        parameters: dict[str, Any] = {name: lm.model.get_parameter(name) for name in self.deltas}
        originals = {name: p.detach().clone() for name, p in parameters.items()}
        try:
            with torch.no_grad():
                for name, parameter in parameters.items():
                    # In float32, then rounded once: in a half-precision model small changes would else be lost.
                    parameter.copy_(parameter.float() + self.deltas[name].to(parameter.device))
            yield
        finally:
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.copy_(originals[name])

    def save(self, file: Path) -> None:
        """Write the changes as safetensors, the prefix in the metadata."""
        from safetensors.torch import save_file

        save_file({n: d.contiguous().cpu() for n, d in self.deltas.items()}, file, metadata={"prefix": self.prefix})

    @classmethod
    def load(cls, file: Path) -> Patch:
        """Read what `save` wrote."""
        from safetensors import safe_open

        with safe_open(file, framework="pt") as stored:
            names = stored.keys()
            return cls({n: stored.get_tensor(n) for n in names}, (stored.metadata() or {}).get("prefix", ""))

    def digest(self) -> str:
        """Hex digest of the content: part of the key of every artifact made with the patched model."""
        state = hashlib.blake2b(json.dumps(self.prefix).encode(), digest_size=16)
        for name in sorted(self.deltas):
            delta = self.deltas[name].detach().float().cpu().contiguous()
            state.update(f"{name}{tuple(delta.shape)}".encode())
            state.update(delta.numpy().tobytes())
        return state.hexdigest()
