"""From requests to patches: values at the last listed layer, then a change of each listed layer in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ...architecture import Linear, linear
from ...model import LanguageModel
from ...patch import Delta, LowRank, Patch, stacked
from .contexts import Filled
from .keys import place, read
from .solve import Factors, Inverse, with_keys
from .value import value_deltas

if TYPE_CHECKING:
    import numpy as np

    from .params import LocateThenEdit


@dataclass(frozen=True)
class Grounds:
    """What a method knows of the untouched model."""

    groups: tuple[tuple[str, ...], ...]
    """Templates of contexts, in groups; the first is the bare prompt."""
    inverses: Mapping[int, Inverse]
    """By layer."""

    def remembering(self, keys: Mapping[int, torch.Tensor]) -> Grounds:
        """The same, where some keys (by layer, each of shape (count, inputs)) are to be left alone, too."""
        known = {layer: with_keys(self.inverses[layer], rows) for layer, rows in keys.items()}
        return replace(self, inverses={**self.inverses, **known})

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the groups."""
        return tuple(map(len, self.groups))

    @property
    def templates(self) -> list[str]:
        return [template for group in self.groups for template in group]


def patches(
    method: LocateThenEdit,
    lm: LanguageModel,
    filled: Sequence[Filled],
    owners: Sequence[int],
    grounds: Grounds,
    rngs: Sequence[np.random.Generator],
    wanted: torch.Tensor | None = None,
) -> list[Patch]:
    """One patch for each number in `owners`, which tells of every request in which patch it goes; relative to the
    model as it is. `rngs`: a generator for each patch; `wanted`: values, shape (requests, width), that were found
    before.

    Every listed layer takes a share of what is still missing at the last one; see `LocateThenEdit.spread`.
    """
    layers, value, size = method.site.layers, method.value, method.batch_size
    output = place(lm, value.at, layers[-1])
    found = [Patch() for _ in range(max(owners) + 1)]
    for number, layer in enumerate(layers):
        projection = linear(lm.model, layer, method.site.module)
        with _changed(lm, found):
            reading = read(lm, filled, grounds.sizes, projection.name, output, owners, size)
        if wanted is None:
            initial = reading.outputs[:, 0]
            wanted = initial + value_deltas(lm, filled, initial, value, layers[-1], size)
        for owner, patch in enumerate(found):
            own = [i for i, o in enumerate(owners) if o == owner]
            left, right = method.solve.change(reading.of(own), wanted[own], grounds.inverses[layer], rngs[owner])
            change = as_stored(projection, (left / method.parts(len(layers) - number), right))
            found[owner] = patch.then(Patch({projection.weight_name: change}))
    return found


def keys_of(
    method: LocateThenEdit, lm: LanguageModel, filled: Sequence[Filled], grounds: Grounds
) -> dict[int, torch.Tensor]:
    """Keys of requests in the model as it is now, by layer, each of shape (requests, inputs), float32."""
    found = {}
    for layer in method.site.layers:
        name = linear(lm.model, layer, method.site.module).name
        reading = read(lm, filled, grounds.sizes, name, name, [0] * len(filled), method.batch_size)
        found[layer] = reading.grouped_keys
    return found


@contextmanager
def _changed(lm: LanguageModel, found: Sequence[Patch]) -> Iterator[None]:
    """The model with the changes of earlier layers: a common one, or for each row the one of its request."""
    with found[0].applied(lm) if len(found) == 1 else stacked(lm, found):
        yield


def as_stored(projection: Linear, factors: Factors) -> Delta:
    """In float32 and in the way the weight is stored; in full where factors would take more room."""
    left, right = (f.float().to(projection.module.weight.device) for f in factors)
    if left.shape[1] * (left.shape[0] + right.shape[1]) >= left.shape[0] * right.shape[1]:
        return projection.stored(left @ right).contiguous()
    return LowRank(right.T, left.T) if projection.transposed else LowRank(left, right)
