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
    """The model goes on by sampling, and the entropy of the text's n-grams is scored."""

    prompts: Literal["edited", "generation"] = "edited"
    """After the edited prompt, or after each of CounterFact's generation prompts, where also the text's likeness to
    texts about others of the new kind is scored (consistency)."""
    tokens: Count = 100
    """Length of the continuation; of `generation` with its prompt, as Meng et al. 2022 have it."""
    top_k: Count = 5
    """Sampled from so many most probable tokens, as Meng et al. 2022 do."""


class AskedFacts(Editing):
    """What is asked about single facts, in every track of them."""

    contrast: bool = False
    """Compare the probabilities of new and true target (CounterFact's scores)."""
    fluency: Fluency | None = None
    """Also write a text after each edit."""
    perplexity: bool = False
    """Also how likely the new target is after the edited prompt, for targets of whole sentences (WISE)."""


class Edit(AskedFacts):
    """Single facts: see run.py."""

    version: ClassVar[int] = 3
    items: ClassVar[str] = "edit_case"
    type: Literal["edit"]

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
