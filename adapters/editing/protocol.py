"""How requests are edited together and when they are scored: what every task of this family can say, whatever it asks.

Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ...components import NOT_IDENTITY, TaskProtocol
from ..bridges.params import General

Count = Annotated[int, Field(ge=1)]


class Editing(TaskProtocol):
    """Edit, score, put back; what is scored is the track's own (session.py)."""

    roles: ClassVar[Mapping[str, str]] = {"subject": "language_model"}
    offers: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    accepts: ClassVar[frozenset[str]] = frozenset({"patch"})
    mode: Literal["single", "batch", "sequential"] = "single"
    """`single`: each case alone on the untouched model. `batch`: T cases together on the untouched model.
    `sequential`: one batch after the other on a model that stays changed, scored on all cases so far."""
    batch_size: Count = 1
    """`sequential`: cases that are carried out together."""
    checkpoints: tuple[Count, ...] = ()
    """Numbers T of cases after which `batch` and `sequential` score, rising."""
    streams: Count = 1
    """Disjoint blocks of cases for each T, each on a fresh copy of the untouched model."""
    least_items: Annotated[int, Field(ge=0)] = 0
    """As many more streams for a small T as are needed to score so many cases at each T."""
    conflicts: Literal["drop", "last", "error"] = "drop"
    """Of several cases that change one fact `drop` keeps the first, `last` the last one."""
    general: General | None = None
    """`batch` and `sequential`: general ability before any edit, and of the model of the first stream of each length
    after its last one."""
    forward_batch: Annotated[Count, NOT_IDENTITY] = 256
    """Prompts in one forward pass; its effect is float noise."""
    chunk: Annotated[Count, NOT_IDENTITY] = 32
    """Single cases that are worked on and committed together; a kill costs at most so many."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.mode == "single":
            own = ("checkpoints", "streams", "least_items", "conflicts", "general")
            defaults = {name: Editing.model_fields[name].default for name in own}
            if said := [name for name, value in defaults.items() if getattr(self, name) != value]:
                raise ValueError(
                    f"mode `single` has no {', '.join(said)}; leave them out, or choose `batch` or `sequential`"
                )
        if self.mode != "single" and (not self.checkpoints or list(self.checkpoints) != sorted(set(self.checkpoints))):
            raise ValueError(f"mode `{self.mode}` needs rising checkpoints, for example [1, 10, 100]")
        if self.mode != "sequential" and self.batch_size != 1:
            raise ValueError("batch_size belongs to mode `sequential`; in `batch` the checkpoints are the batch sizes")
        if odd := [t for t in self.checkpoints if t % self.batch_size]:
            raise ValueError(f"checkpoint {odd[0]} is not a multiple of the batch size {self.batch_size}")
        return self
