"""Which heads and which MLP do what, and which edges follow from it. Numpy only.

Two truths. *Wiring*: every edge that the construction uses. *Causal*: those of them that carry a difference when
relation and subject of a question are exchanged, and whose reader lets it through; no method that looks at such
counterparts can find more. The others do their work in both prompts alike: that a mover's key finds a subject's token
is needed, but it finds either subject. The rules:

- The memory reads the subject, the relation head's value the relation: causal. Its query reads the last word, its key
  that some relation is there, or else `<bos>`: the same in both.
- A mover's query reads from the relation head whether its relation is asked: causal. From the word
  that stands there it reads that it shall rest on `<bos>` unless it is; its key finds the subject and `<bos>`: the same
  in both. Its value reads the memory, and what it says goes to the logits: causal.
- A backup's query reads the relation head and, with the opposite sign, what its mover said: both causal, since a mover
  that is silenced on the way to its backup alone wakes the backup, which says the answer once more. Its value and what
  it says are not: in both prompts it sleeps, either because its relation is not asked or because its mover spoke.
- With backups, what the loss of a mover's query costs is made good: the backup wakes. The edge stays causal for what it
  does to the counterpart's relation, whose mover then speaks beside the right one and takes a share of the final norm;
  so these edges matter far less than the same ones without a backup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ....job import rng
from ...lm.graph.nodes import Graph
from .design import Design

Head = tuple[int, int]
"""Block and number."""


@dataclass(frozen=True)
class Circuit:
    """The places of all parts."""

    memory: int
    """Block whose MLP it is."""
    relation: Head
    movers: tuple[Head, ...]
    """One for each relation."""
    backups: tuple[Head, ...]
    """The same, or empty."""

    @property
    def types(self) -> Mapping[str, str]:
        """What kind of part a node is; those that are none are decoys."""
        return {
            f"m{self.memory}": "memory",
            _name(self.relation): "relation head",
            **{_name(head): "mover head" for head in self.movers},
            **{_name(head): "backup mover head" for head in self.backups},
        }

    @property
    def causal(self) -> frozenset[str]:
        """Names of the edges that carry a difference."""
        memory, relation = f"m{self.memory}", _name(self.relation)

        def edges() -> Iterator[str]:
            yield f"input->{memory}"
            yield f"input->{relation}<v>"
            for mover in map(_name, self.movers):
                yield f"{relation}->{mover}<q>"
                yield f"{memory}->{mover}<v>"
                yield f"{mover}->logits"
            for spoken, backup in zip(self.movers, self.backups, strict=False):
                yield f"{relation}->{_name(backup)}<q>"
                yield f"{_name(spoken)}->{_name(backup)}<q>"

        return frozenset(edges())

    @property
    def wiring(self) -> frozenset[str]:
        """Names of all edges that are used."""

        def edges() -> Iterator[str]:
            for head in (self.relation, *self.movers, *self.backups):
                yield f"input->{_name(head)}<q>"
                yield f"input->{_name(head)}<k>"
            for head in self.backups:
                yield f"m{self.memory}->{_name(head)}<v>"
                yield f"{_name(head)}->logits"

        return self.causal | frozenset(edges())


def placed(design: Design, seed: int) -> Circuit:
    """Where the parts sit: at random, but each behind what it reads."""
    generator = rng(seed, "compiled-places")
    behind = 2 if design.backup else 1
    memory, relation = (int(n) for n in generator.integers(design.layers - behind, size=2))
    free = {(layer, head) for layer in range(design.layers) for head in range(design.heads)}

    def drawn(first: int, stop: int) -> Head:
        """A head that is still free in blocks first … stop - 1."""
        known = sorted(head for head in free if first <= head[0] < stop)
        found = known[int(generator.integers(len(known)))]
        free.remove(found)
        return found

    read = drawn(relation, relation + 1)
    first = max(memory, relation) + 1
    movers = tuple(drawn(first, design.layers - behind + 1) for _ in range(design.relations))
    backups = tuple(drawn(layer + 1, design.layers) for layer, _ in movers) if design.backup else ()
    return Circuit(memory, read, movers, backups)


def graph_of(design: Design) -> Graph:
    """The graph of the model."""
    return Graph(design.layers, design.heads, design.heads)


def _name(head: Head) -> str:
    return f"a{head[0]}.h{head[1]}"
