"""What a task of this family can say; its data sets are in sources/. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from ...components import Strict
from ...metrics import Metric
from .protocol import Count, Editing

if TYPE_CHECKING:
    from ...job import Job, Part


class Fluency(Strict):
    """The edited prompt is continued by sampling, and the entropy of the text's n-grams is scored."""

    tokens: Count = 100
    """Length of the continuation."""
    top_k: Count = 5
    """Sampled from so many most probable tokens, as Meng et al. 2022 do."""


class Edit(Editing):
    """Single facts: see run.py."""

    version: ClassVar[int] = 2
    items: ClassVar[str] = "edit_case"
    type: Literal["edit"]
    contrast: bool = False
    """Compare the probabilities of new and true target (CounterFact's scores)."""
    fluency: Fluency | None = None
    """Also write a text after each edit."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
