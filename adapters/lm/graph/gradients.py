"""Sums of gradients over runs, at every destination, and their products with what the sources write.

A destination reads W n(x), with n(x) = gain · c(x) / σ + bias, where c takes the mean away (LayerNorm) or nothing
(RMSNorm). With g the gradient at W n(x), the gradient at the stream x of width d is

    c(gain · Wᵀ g / σ) − c(x) β,    β = ⟨g, W (gain · c(x) / σ)⟩ / (d σ²) = ⟨g, W n(x) − W bias⟩ / (d σ²).

The first term is linear in g / σ, so that runs are summed before W, in the width of a head; of the second, β and x are
kept for each run. Neither the stream is copied for each destination (as codes do that hook split inputs) nor is
anything multiplied with the sources before the runs are summed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby

import torch

from .backward import Reader, Run, Stage
from .values import Values
from .wiring import Norm

EXPANDED = 1 << 24
"""Numbers that what the sources write may take at once, 64 MB: it is (heads + 1) / 2 times as large as `Values`."""


class Gradients:
    """A weighted sum over runs of the same rows, at the same readers."""

    def __init__(self, readers: list[Reader], length: int) -> None:
        self.readers = readers
        self.length = length
        """Positions of a row."""
        self._norms = {reader.norm.name: reader.norm for reader in readers}
        self._linear: dict[int, torch.Tensor] = {}
        self._along: dict[int, list[torch.Tensor]] = defaultdict(list)
        self._streams: dict[str, list[torch.Tensor]] = defaultdict(list)

    def add(self, run: Run, weight: float) -> None:
        """Add `weight` times the gradients of a run."""
        scales: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for name, norm in self._norms.items():
            self._streams[name].append(run.streams[name])
            square = _square(norm, run.streams[name].float())[..., None]
            scales[name] = (weight / square.sqrt())[..., None], weight / len(norm.gain) / square
        for number, reader in enumerate(self.readers):
            linear, along = scales[reader.norm.name]
            gradient = reader.heads(run.gradients[reader.at[0]])
            self._along[number].append((reader.unbiased(run.outputs[reader.at[0]]) * gradient).sum(-1) * along)
            if number in self._linear:
                self._linear[number].addcmul_(gradient, linear)
            else:
                self._linear[number] = gradient * linear

    def parts(self, rows: slice, positions: slice) -> Iterator[tuple[list[Reader], torch.Tensor]]:
        """Readers of one stream, and the gradients at it, shape (destinations, rows, positions, width).

        Those at the logits are of the last position, and are left out where `positions` do not reach it.
        """
        for _, group in groupby(enumerate(self.readers), key=lambda pair: (pair[1].norm.name, pair[1].sources)):
            numbers, some = zip(*group, strict=True)
            kept = self._streams[some[0].norm.name]
            if some[0].last:
                if positions.stop < self.length:
                    continue
                positions = slice(None)
            found = torch.cat([self.readers[n].pushed_back(self._linear[n][rows, positions]) for n in numbers])
            along = torch.cat([torch.stack([a[rows, positions] for a in self._along[n]], -1) for n in numbers], 2)
            streams = torch.stack([x[rows, positions] for x in kept], 2)
            found -= (along @ some[0].norm.centre(streams.float())).movedim(2, 0)
            yield list(some), found


def add_products(found: torch.Tensor, total: Gradients, difference: Values, stages: list[Stage]) -> None:
    """Add ⟨difference of a source of these stages, gradient at a destination⟩, summed over positions, for each row.

    `found`: shape (rows, all sources, all destinations), changed in place.
    """
    first, last = stages[0].sources.start, stages[-1].sources.stop
    for rows, positions in pieces(difference, last - first):
        part = difference.map(lambda t: t[rows, positions])  # noqa: B023 - called at once
        written = torch.cat([stage.each(part) for stage in stages]).transpose(0, 1)
        for readers, gradients in total.parts(rows, positions):
            some = slice(first, min(last, readers[0].sources))
            places = slice(readers[0].destinations.start, readers[-1].destinations.stop)
            wrote = written[:, : some.stop - first, -gradients.shape[2] :]
            found[rows, some, places] += wrote.flatten(2) @ gradients.transpose(0, 1).flatten(2).transpose(1, 2)


def _square(norm: Norm, x: torch.Tensor) -> torch.Tensor:
    """σ², shape (rows, positions)."""
    return norm.centre(x).square().mean(-1) + norm.eps


def pieces(values: Values, sources: int) -> Iterator[tuple[slice, slice]]:
    """Rows and positions in pieces, of which `sources` sources write at most EXPANDED numbers."""
    rows, length, width = values.embedded.shape
    most = max(1, EXPANDED // (sources * width))
    step = max(1, most // length)
    for row in range(0, rows, step):
        for position in range(0, length, most):
            yield slice(row, row + step), slice(position, min(position + most, length))
