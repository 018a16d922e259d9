"""Runs that begin at a block: what lies below an intervention is as in the clean run, and is not computed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..forward import replaced, tensor_of
from ..resumed import Lower, lower, resumed
from .nodes import LETTERS, Graph
from .pairs import Batch, Pair, batches
from .params import Ablation
from .values import Recorded, Values, last_logits, record, reference_for, written
from .wiring import Projection, Wiring

_MOST_BYTES = 2**28
"""Of one tensor of all sources for some rows."""


@dataclass(frozen=True)
class Runs:
    """Pairs of one length: their clean run, and what stands in for sources that are ablated."""

    wiring: Wiring
    batch: Batch
    clean: Recorded
    reference: Values
    block_output: Any
    """What a block returns, for its form: hidden states, in some families in a tuple."""

    def differences(self, count: int | None = None) -> torch.Tensor:
        """Reference less clean value of the first `count` sources (all), shape (pairs, sources, positions, width)."""
        changes = self.reference.minus(self.clean.values)
        return written(self.wiring, changes, count).transpose(1, 2).contiguous()


def fitting(wiring: Wiring, pairs: Sequence[Pair], most: int) -> int:
    """How many rows can have all their sources in memory at once; at most `most`, at least 1."""
    length = max(len(pair.clean) for pair in pairs)
    row = 4 * length * len(wiring.graph.sources) * wiring.width
    return max(1, min(most, _MOST_BYTES // row))


def runs_of(wiring: Wiring, pairs: Sequence[Pair], ablation: Ablation, size: int) -> Iterator[Runs]:
    """All pairs, at most `size` of one length at once. Raises DataError for one without a needed corrupt prompt."""
    reference = reference_for(wiring, pairs, ablation, size)
    form: Any = None
    for batch in batches(pairs, fitting(wiring, pairs, size), wiring.lm.device):
        if form is None:
            form = lower(wiring.lm, [batch.clean[0].tolist()], 1, [batch.clean.shape[1] - 1]).output
        yield Runs(wiring, batch, record(wiring, batch.clean), reference(batch), form)


def restarted(runs: Runs, rows: torch.Tensor, start: int, stream: torch.Tensor) -> torch.Tensor:
    """Logits at the last position, shape (rows, vocabulary), when block `start` is given `stream`.

    `rows`: which pair each row is; `stream`: (rows, positions, width). Block 0 is given what the model gives it. With
    as many blocks as there are, only normalisation and head are left, and the last position is all that they see.
    """
    lm, layers = runs.wiring.lm, runs.wiring.graph.layers
    tokens = runs.batch.clean[rows]
    if start == layers:
        tokens, stream = tokens[:, -1:], stream[:, -1:]
    below = Lower(start, replaced(runs.block_output, stream))
    with resumed(lm, below, range(len(tokens)), tokens.shape[1], layers - 1), _at_the_end(runs.wiring, tokens.shape[1]):
        return last_logits(runs.wiring, tokens)


def ends_alone(wiring: Wiring) -> bool:
    """Whether the last block's MLP may be given the last position alone: not when modules may be inserted."""
    return not (wiring.lm.surrounded or wiring.lm.patched)


@contextmanager
def _at_the_end(wiring: Wiring, length: int) -> Iterator[None]:
    """Inside `with`, what follows the last block's attention is computed at the last position, the only one that is
    read; all others are given the same. Inserted modules look for the end of a prompt where they know it to be."""

    def last(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][:, -1:], *args[1:])

    def everywhere(_: Any, __: Any, output: Any) -> Any:
        return replaced(output, tensor_of(output).expand(-1, length, -1))

    layer = wiring.layers[-1]
    with ExitStack() as hooks:
        for module in (layer.out.module, layer.mlp[1]) if ends_alone(wiring) else ():
            hooks.callback(module.register_forward_pre_hook(last).remove)
            # Before all other hooks, so that they see the shape that they know.
            hooks.callback(module.register_forward_hook(everywhere, prepend=True).remove)
        yield


def place_of(graph: Graph, destination: int) -> tuple[int, str, int]:
    """Block, `q`, `k`, `v` or `m`, and number of a destination; the number of blocks and "" for `logits`."""
    layer = int(graph.layer_of[destination])
    for letter in LETTERS + "m" if layer < graph.layers else "":
        places = graph.readers(layer, letter)
        if places.start <= destination < places.stop:
            return layer, letter, destination - places.start
    return layer, "", 0


@dataclass(frozen=True)
class Edit:
    """Rows in which one destination reads something else."""

    destination: int
    rows: torch.Tensor
    """Which pair each row is."""
    changes: torch.Tensor
    """What it reads beside its clean stream, shape (rows, positions, width)."""


@torch.no_grad()
def reading(runs: Runs, layer: int, edits: Sequence[Edit]) -> torch.Tensor:
    """Logits, shape (rows of all edits, vocabulary), when in each row one destination of a block (or `logits`) reads
    its clean stream plus changes, and everything above is computed from what that makes of it."""
    wiring, streams = runs.wiring, runs.clean.streams
    rows = torch.cat([edit.rows for edit in edits])
    if layer == wiring.graph.layers:
        return restarted(runs, rows, layer, plus(streams.final[rows], torch.cat([edit.changes for edit in edits])))
    at, first = wiring.layers[layer], 0
    with ExitStack() as hooks:
        for edit in edits:
            place = slice(first, first := first + len(edit.rows))
            _, letter, number = place_of(wiring.graph, edit.destination)
            if letter == "m":
                read = at.mlp_norm(plus(streams.mlp[layer][edit.rows], edit.changes))
                handle = at.mlp[1].register_forward_pre_hook(_given(place, read))
            else:
                projection = at.projections[letter]
                read = at.attention_norm(plus(streams.attention[layer][edit.rows], edit.changes))
                made = read @ projection.weight[number].T.to(read) + projection.bias[number].to(read)
                handle = projection.module.register_forward_hook(_made(projection, place, number, made))
            hooks.callback(handle.remove)
        return restarted(runs, rows, layer, streams.attention[layer][rows])


def _given(place: slice, read: torch.Tensor) -> Any:
    """The MLP is given something else in some rows."""

    def hook(_: Any, args: tuple[Any, ...]) -> Any:
        given = args[0].clone()
        given[place] = read
        return (given, *args[1:])

    return hook


def _made(projection: Projection, place: slice, number: int, made: torch.Tensor) -> Any:
    """The projection makes something else for one head in some rows."""
    channels = projection.channels.unflatten(0, (projection.count, -1))[number]

    def hook(_: Any, __: Any, output: torch.Tensor) -> None:
        # In place: the output is this pass's own.
        output[place, :, channels] = made

    return hook


def plus(stream: torch.Tensor, changes: torch.Tensor) -> torch.Tensor:
    """A stream with changes in float32, in its own dtype."""
    return (stream.float() + changes).to(stream.dtype)
