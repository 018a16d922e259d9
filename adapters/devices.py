"""Where torch computes: checked before it is used, and set so that the same work gives the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import ModelError


def prepared(name: str, threads: int) -> torch.device:
    """The device called `name` (`cpu`, `cuda:1`, `mps`), its CPU side on so many threads. Raises ModelError."""
    torch.set_num_threads(threads)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"device {name}: expected cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {name}: no CUDA GPU is usable here; choose --device cpu, or see `benchwright doctor`")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device {name}: there are {torch.cuda.device_count()} CUDA GPUs, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device mps: not available here; choose --device cpu")
    return device


@contextmanager
def computing(name: str, threads: int) -> Iterator[None]:
    """Convolutions by deterministic kernels and in full float32 while it lasts. Raises ModelError as `prepared`."""
    prepared(name, threads)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
