"""What a task of this family can say; its data sets are in sources/. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ...components import NOT_IDENTITY, Strict, TaskProtocol
from ...metrics import Metric

if TYPE_CHECKING:
    from ...job import Job, Part

Count = Annotated[int, Field(ge=1)]


class Fluency(Strict):
    """The edited prompt is continued by sampling, and the entropy of the text's n-grams is scored."""

    tokens: Count = 100
    """Length of the continuation."""
    top_k: Count = 5
    """Sampled from so many most probable tokens, as Meng et al. 2022 do."""


class Edit(TaskProtocol):
    """Edit, score, put back."""

    version: ClassVar[int] = 2
    roles: ClassVar[Mapping[str, str]] = {"subject": "language_model"}
    items: ClassVar[str] = "edit_case"
    offers: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    accepts: ClassVar[frozenset[str]] = frozenset({"patch"})
    type: Literal["edit"]
    mode: Literal["single", "batch", "sequential"] = "single"
    """`single`: each request alone on the untouched model. `batch`: T requests together on the untouched model.
    `sequential`: one batch after the other on a model that stays changed, scored on all requests so far."""
    batch_size: Count = 1
    """`sequential`: requests that are carried out together."""
    checkpoints: tuple[Count, ...] = ()
    """Numbers T of requests after which `batch` and `sequential` score, rising."""
    streams: Count = 1
    """Disjoint blocks of requests for each T, each on a fresh copy of the untouched model."""
    least_items: Annotated[int, Field(ge=0)] = 0
    """As many more streams for a small T as are needed to score so many requests at each T."""
    conflicts: Literal["drop", "last", "error"] = "drop"
    """Of several requests that change one fact `drop` keeps the first, `last` the last one."""
    contrast: bool = False
    """Compare the probabilities of new and true target (CounterFact's scores)."""
    fluency: Fluency | None = None
    """Also write a text after each edit."""
    forward_batch: Annotated[Count, NOT_IDENTITY] = 256
    """Prompts in one forward pass; its effect is float noise."""
    chunk: Annotated[Count, NOT_IDENTITY] = 32
    """Single requests that are worked on and committed together; a kill costs at most so many."""

    @model_validator(mode="after")
    def _fits_together(self) -> Edit:
        if self.mode == "single":
            defaults = {n: Edit.model_fields[n].default for n in ("checkpoints", "streams", "least_items", "conflicts")}
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

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
