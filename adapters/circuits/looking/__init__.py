"""Look inside a model while it answers questions: the methods that find no circuit, and their protocol.

What a method sees in a prompt are numbers, and grids with a row for each role of a position (adapters/lm/inside/
roles.py), head or line, and a column for each block; NaN where a prompt has nothing for it. The protocol averages grids
over prompts and shows them as the method's panels say. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ....components import Algorithm

if TYPE_CHECKING:
    from ...lm.graph.nodes import Graph
    from ...lm.graph.pairs import Pair
    from ...lm.graph.wiring import Wiring

Grid = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """Prompts to look at."""

    wiring: Wiring
    pairs: Sequence[Pair]
    spans: Sequence[tuple[int, int]]
    """First token of each subject, and the one behind its last."""
    unrelated: Sequence[Pair | None]
    """For each pair one of another relation, with other answers."""
    batch: int
    """Rows in one forward pass; its effect is float noise."""
    rng: Callable[[str, str], np.random.Generator]
    """A generator for a purpose and a pair's id."""


@dataclass
class Looked:
    """What was seen in one prompt."""

    values: dict[str, float] = field(default_factory=dict)
    """By column; see looking/metrics.py. A column that is not defined for it is left out."""
    grids: dict[str, Grid] = field(default_factory=dict)
    """By panel, each of shape (rows, blocks)."""


@dataclass(frozen=True)
class Panel:
    """How a grid is shown, averaged over prompts."""

    name: str
    title: str
    rows: tuple[str, ...]
    """Of a matrix, or names of the lines of curves over blocks."""
    kind: Literal["matrix", "curve"] = "matrix"
    y_label: str = ""
    middle: Literal["mean", "median"] = "mean"
    """`mean` with its 95 % interval (normal), `median` with quartiles."""


class Looking(Algorithm):
    """What yields a look."""

    consumes: ClassVar[frozenset[str]] = frozenset({"prompt_pairs"})
    yields: ClassVar[str] = "look"
    type: str

    def look(self, scene: Scene) -> list[Looked]:
        """What is seen in each pair's clean prompt, in their order."""
        raise NotImplementedError

    def panels(self, graph: Graph) -> tuple[Panel, ...]:
        """How its grids are shown."""
        raise NotImplementedError
