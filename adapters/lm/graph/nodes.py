"""Nodes and edges of a transformer's residual stream: names, order, and what can reach what. Numpy only.

Sources write into the stream: `input` (token embedding), `a{l}.h{h}` (a head's output, without the bias of the output
projection), `m{l}` (an MLP). Destinations read it, before their normalisation: `a{l}.h{h}<q>`, `<k>`, `<v>`, `m{l}`,
`logits`. Where query heads share keys and values (GQA), the destination is theirs together, `a{l}.kv{j}<k>`. Naming
and order are those of EAP-IG (Hanna et al. 2024, arXiv 2403.17806), with its shared keys and values kept together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError, unknown

Mask = NDArray[np.bool_]
"""Edges, shape (sources, destinations)."""
LETTERS = "qkv"


@dataclass(frozen=True)
class Graph:
    """The graph of a model with `layers` blocks."""

    layers: int
    heads: int
    """Query heads of a block."""
    kv_heads: int
    """Heads of keys and values of a block; a divisor of `heads`."""
    parallel: bool = False
    """Whether attention and MLP of a block read the same stream (GPT-NeoX, GPT-J), so that neither sees the other."""

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """`input`, then the heads and the MLP of each block: 1 + layers × (heads + 1) names."""
        names = ["input"]
        for layer in range(self.layers):
            names += [f"a{layer}.h{head}" for head in range(self.heads)] + [f"m{layer}"]
        return tuple(names)

    @cached_property
    def destinations(self) -> tuple[str, ...]:
        """Queries, keys, values and MLP of each block, then `logits`."""
        names = []
        for layer in range(self.layers):
            for letter in LETTERS:
                names += [f"{self._reader(layer, letter, i)}<{letter}>" for i in range(self.count(letter))]
            names.append(f"m{layer}")
        return (*names, "logits")

    def _reader(self, layer: int, letter: str, number: int) -> str:
        shared = letter != "q" and self.kv_heads != self.heads
        return f"a{layer}.kv{number}" if shared else f"a{layer}.h{number}"

    def count(self, letter: str) -> int:
        """How many destinations a block has for `q`, `k` or `v`."""
        return self.heads if letter == "q" else self.kv_heads

    @property
    def group(self) -> int:
        """Query heads that share a head of keys and values."""
        return self.heads // self.kv_heads

    def before_attention(self, layer: int) -> int:
        """Number of sources, the first ones, that the attention of a block can read."""
        return 1 + layer * (self.heads + 1)

    def before_mlp(self, layer: int) -> int:
        """Number of sources, the first ones, that the MLP of a block can read."""
        return self.before_attention(layer) + (0 if self.parallel else self.heads)

    def head_sources(self, layer: int) -> slice:
        """Places of a block's heads among the sources."""
        start = self.before_attention(layer)
        return slice(start, start + self.heads)

    def mlp_source(self, layer: int) -> int:
        """Place of a block's MLP among the sources."""
        return self.before_attention(layer) + self.heads

    def readers(self, layer: int, letter: str) -> slice:
        """Places of a block's destinations of `q`, `k`, `v` or `m` among the destinations."""
        start = layer * (self.heads + 2 * self.kv_heads + 1)
        for known in LETTERS:
            if letter == known:
                return slice(start, start + self.count(letter))
            start += self.count(known)
        return slice(start, start + 1)

    @property
    def logits(self) -> int:
        """Place of `logits` among the destinations."""
        return len(self.destinations) - 1

    @cached_property
    def layer_of(self) -> NDArray[np.int64]:
        """Block of each destination, shape (destinations,); of `logits` the number of blocks."""
        each = self.heads + 2 * self.kv_heads + 1
        return np.minimum(np.arange(len(self.destinations)) // each, self.layers)

    @cached_property
    def allowed(self) -> Mask:
        """The edges that exist: a destination reads the sources before it."""
        found = np.zeros((len(self.sources), len(self.destinations)), dtype=bool)
        for layer in range(self.layers):
            for letter in LETTERS:
                found[: self.before_attention(layer), self.readers(layer, letter)] = True
            found[: self.before_mlp(layer), self.readers(layer, "m")] = True
        found[:, self.logits] = True
        return found

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """Source and destination of every edge, shape (edges, 2): sorted by destination, then by source."""
        return np.argwhere(self.allowed.T)[:, ::-1]

    def name(self, source: int, destination: int) -> str:
        """`a1.h0->a2.h1<q>`."""
        return f"{self.sources[source]}->{self.destinations[destination]}"

    def names(self) -> Iterator[str]:
        """The names of `edges`, in their order."""
        for source, destination in self.edges:
            yield self.name(source, destination)

    def edge(self, name: str) -> tuple[int, int]:
        """Source and destination of an edge by its name. Raises DataError with the closest known name."""
        source, arrow, destination = name.partition("->")
        if not arrow:
            raise DataError(f"edge {name!r}: write it as SOURCE->DESTINATION, for example input->m0")
        for found, known in ((source, self.sources), (destination, self.destinations)):
            if found not in known:
                raise DataError(f"edge {name!r}: " + unknown("node", found, known))
        place = self.sources.index(source), self.destinations.index(destination)
        if not self.allowed[place]:
            raise DataError(f"edge {name!r}: {destination} is computed before {source}, so there is no such edge")
        return place

    def mask(self, names: Iterator[str] | list[str] | tuple[str, ...]) -> Mask:
        """The edges of these names. Raises DataError."""
        found = np.zeros_like(self.allowed)
        for name in names:
            found[self.edge(name)] = True
        return found

    def nodes_of(self, destination: int) -> list[int]:
        """The sources that write what this destination reads on: the head, the heads that share keys and values, the
        MLP; none for `logits`."""
        layer = int(self.layer_of[destination])
        if layer == self.layers:
            return []
        for letter in LETTERS:
            places = self.readers(layer, letter)
            if places.start <= destination < places.stop:
                number, first = destination - places.start, self.before_attention(layer)
                if letter == "q":
                    return [first + number]
                return [first + h for h in range(number * self.group, (number + 1) * self.group)]
        return [self.mlp_source(layer)]

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """1 where a destination belongs to a source (`nodes_of`), shape (destinations, sources)."""
        found = np.zeros((len(self.destinations), len(self.sources)), dtype=np.int64)
        for destination in range(len(self.destinations)):
            found[destination, self.nodes_of(destination)] = 1
        return found

    def prune(self, mask: Mask) -> Mask:
        """The mask without dead ends: edges out of a node that nothing reaches, or into one that reaches nothing.

        `input` needs no edge into it and `logits` none out of it. Of a head any of queries, keys and values counts.
        """
        kept = mask & self.allowed
        while True:
            reached = (kept.any(0).astype(np.int64) @ self.owners) > 0
            reached[0] = True
            used = self.owners @ kept.any(1).astype(np.int64) > 0
            used[self.logits] = True
            smaller = kept & reached[:, None] & used[None, :]
            if (smaller == kept).all():
                return kept
            kept = smaller

    def of_nodes(self, nodes: NDArray[np.bool_]) -> Mask:
        """The edges between kept nodes, shape (sources,) of bool; `input` and `logits` are always kept."""
        kept = nodes.copy()
        kept[0] = True
        reads = self.owners @ kept.astype(np.int64) > 0
        reads[self.logits] = True
        found: Mask = self.allowed & kept[:, None] & reads[None, :]
        return found

    def nodes_in(self, mask: Mask) -> list[str]:
        """Sources with an edge in the mask, in order, and `logits` where an edge ends there."""
        used = mask.any(1) | ((mask.any(0).astype(np.int64) @ self.owners) > 0)
        return [n for n, u in zip(self.sources, used, strict=True) if u] + ["logits"] * bool(mask[:, self.logits].any())
