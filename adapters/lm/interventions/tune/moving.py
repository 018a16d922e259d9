"""What moves in training: a change of every parameter, or an adapter; the model itself is never written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ...architecture import blocks
from ...model import LanguageModel
from ...patch import Delta, Patch
from ..fine_tune.adapters import adapted, change_of
from ..fine_tune.descent import projections
from .params import Adapter, Everything

NOISE = 1e-3
"""How far a shake goes: the standard deviation of what an adapter begins at zero, or a share of each weight's own."""


@dataclass(frozen=True)
class Moving:
    """Tensors that are descended, and how a forward pass sees them."""

    free: list[torch.Tensor]
    weights: Callable[[], dict[str, torch.Tensor] | None]
    """What is put in place of parameters, a function of `free`; None where modules hold `free` themselves."""
    patch: Callable[[], Patch]
    origins: Sequence[torch.Tensor] = ()
    """The weight that each of `free` is a change of; none where they stand for themselves."""
    shaken: Sequence[float] = ()
    """Standard deviation of what `shake` adds to each of `free`."""

    @torch.no_grad()
    def shake(self, seed: int) -> None:
        """Move a little, from where an objective that compares with it has no gradient."""
        generator = torch.Generator().manual_seed(seed)
        for tensor, size in zip(self.free, self.shaken, strict=True):
            tensor += (size * torch.randn(tensor.shape, generator=generator)).to(tensor)

    @torch.no_grad()
    def decay(self, share: float) -> None:
        """Take a share of the weights away that an optimiser of their changes does not see."""
        for tensor, origin in zip(self.free, self.origins, strict=False) if share else ():
            tensor -= share * origin.float()

    @contextmanager
    def at(self, values: Sequence[torch.Tensor]) -> Iterator[None]:
        """Inside `with`, `free` has these values; nothing that is computed there has a gradient."""
        now = self.values()
        with torch.no_grad():
            try:
                for tensor, value in zip(self.free, values, strict=True):
                    tensor.copy_(value)
                yield
            finally:
                for tensor, value in zip(self.free, now, strict=True):
                    tensor.copy_(value)

    def values(self) -> list[torch.Tensor]:
        """Copies of `free`."""
        return [tensor.detach().clone() for tensor in self.free]


@contextmanager
def moving(lm: LanguageModel, what: Everything | Adapter, seed: int) -> Iterator[Moving]:
    """Inside `with`, what can be moved; afterwards the model is as it was. `seed`: of an adapter's first values."""
    if isinstance(what, Everything):
        own = {n: p for n, p in lm.model.named_parameters() if p.is_floating_point()}
        deltas = {n: torch.zeros_like(p, dtype=torch.float32, requires_grad=True) for n, p in own.items()}

        def weights() -> dict[str, torch.Tensor]:
            return {n: (p.float() + deltas[n]).to(p.dtype) for n, p in own.items()}

        def patch() -> Patch:
            return Patch({n: d.detach().clone() for n, d in deltas.items()})

        sizes = [NOISE * float(p.float().std(correction=0)) for p in own.values()]
        yield Moving(list(deltas.values()), weights, patch, list(own.values()), sizes)
        return
    layers = range(len(blocks(lm.model)[1])) if what.layers is None else what.layers
    # A family with one matrix for queries and values gives it twice.
    places = {p.name: p for layer in layers for role in what.modules for p in projections(lm, layer, role)}
    with adapted(what, lm, list(places.values()), seed):
        wrapped = {name: lm.model.get_submodule(name) for name in places}
        free = [p for module in wrapped.values() for p in module.parameters() if p.requires_grad]

        def low_rank() -> Patch:
            found: dict[str, Delta] = {p.weight_name: change_of(p, wrapped[p.name]) for p in places.values()}
            return Patch(found)

        yield Moving(free, lambda: None, low_rank, shaken=[0.0 if tensor.any() else NOISE for tensor in free])
