"""What can be varied of a compiled model. Nothing heavy is imported here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from ....components import Strict

VERSION = 1
"""Raised when the same design and seed give another model."""


class Design(Strict):
    """A model that answers `REL SUBJECT is` with the subject's attribute.

    A memory (an MLP) writes all attributes of the subject where the subject stands; a relation head writes the relation
    where the question ends; of the movers, a head for each relation, the one that is asked for fetches its attribute.
    Everything else in the model is noise.
    """

    layers: Annotated[int, Field(ge=3, le=24)] = 3
    """Blocks. In which of them the parts sit is drawn from the seed."""
    heads: Annotated[int, Field(ge=2, le=16)] = 4
    """Heads of a block; all but at most 1 + 2 × relations of all heads are decoys."""
    neurons: Annotated[int, Field(ge=8, le=1024)] = 64
    """Neurons of an MLP; the memory uses one for each subject."""
    subjects: Annotated[int, Field(ge=4, le=32, multiple_of=2)] = 8
    relations: Annotated[int, Field(ge=2, le=4)] = 2
    """The first has an attribute of its own for each subject; in the second every two subjects share one; and so on."""
    sharpness: Annotated[float, Field(ge=5, le=200)] = 20.0
    """By how many nats the score of an attended token beats the next best one: from 10 on attention is saturated, and
    gradients through it vanish."""
    noise: Annotated[float, Field(ge=0, le=2)] = 0.05
    """Norm of what a decoy writes, of the norm of a token's embedding."""
    superposition: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Features for each dimension of the residual stream, their directions drawn at random: at right angles up to about
    1, overlapping above. 0: each has a pair of axes for itself."""
    backup: bool = False
    """Whether each mover has a backup in a later block, a head that does the same, but only where the mover did not
    (Wang et al. 2022, arXiv 2211.00593, section 3.4; McGrath et al. 2023, arXiv 2307.15771)."""

    @property
    def attributes(self) -> tuple[int, ...]:
        """How many attributes each relation has."""
        return tuple(self.subjects // (1 + number % 2) for number in range(self.relations))

    @property
    def features(self) -> int:
        """Directions that mean something: a word that is read, a relation, an attribute that is known or is said."""
        return 2 + self.relations + self.subjects + self.relations + 2 * sum(self.attributes)

    @property
    def width(self) -> int:
        """Of the residual stream: a multiple of the heads, and even."""
        wanted = math.ceil(self.features / self.superposition) if self.superposition else 2 * self.features
        step = math.lcm(2, self.heads)
        return step * math.ceil(wanted / step)

    @model_validator(mode="after")
    def _has_room(self) -> Design:
        if self.neurons < self.subjects:
            raise ValueError(f"{self.subjects} subjects need as many neurons; there are {self.neurons}")
        if self.heads < (needed := self.relations * (2 if self.backup else 1)):
            raise ValueError(f"{needed} movers and backups may come into one block; it has {self.heads} heads")
        if self.width // self.heads < self.subjects:
            raise ValueError(
                f"heads of {self.width // self.heads} dimensions cannot carry {self.subjects} attributes; "
                "choose fewer heads, fewer subjects or less superposition"
            )
        return self


PLAIN = Design()
DESIGNS: Mapping[str, Design] = {
    "plain": PLAIN,
    "deep": Design(layers=6),
    "more_relations": Design(relations=4),
    "noisy": Design(noise=0.1),
    "saturated": Design(sharpness=60.0),
    "backup": Design(layers=4, backup=True),
    "superposed": Design(superposition=1.1),
}
"""The named ones: each differs from the first in one way."""
