"""What a task about known circuits can say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from ....components import NOT_IDENTITY, Data, TaskProtocol
from ....errors import unknown
from ....metrics import Metric
from ...worlds.compiled.design import DESIGNS, VERSION, Design

if TYPE_CHECKING:
    from ....job import Job, Part


@dataclass(frozen=True)
class Case:
    """A model to be made."""

    name: str
    """Of the design."""
    seed: int

    @property
    def id(self) -> str:
        """`plain-0`."""
        return f"{self.name}-{self.seed}"

    @property
    def design(self) -> Design:
        """What the name stands for."""
        return DESIGNS[self.name]


class CompiledModels(Data):
    """Models whose circuit is compiled into the weights, of several designs and seeds (worlds/compiled/design.py)."""

    version: ClassVar[int] = VERSION
    yields: ClassVar[str] = "compiled_model"
    type: Literal["compiled"]
    designs: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(DESIGNS)
    """Names of designs: plain, deep, more_relations, noisy, saturated, backup, superposed."""
    seeds: Annotated[int, Field(ge=1, le=20)] = 3
    """Models of each design, with the seeds 0, 1 …; the first 20 of each are known to answer rightly."""

    @field_validator("designs")
    @classmethod
    def _known(cls, designs: tuple[str, ...]) -> tuple[str, ...]:
        if strange := [name for name in designs if name not in DESIGNS]:
            raise ValueError(unknown("design", strange[0], DESIGNS))
        if len(set(designs)) < len(designs):
            raise ValueError("designs: one is named twice")
        return designs

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[Case]:
        """All designs with the first seed, then all with the next one, so that a limit leaves no design out first."""
        return [Case(name, seed) for seed in range(self.seeds) for name in self.designs][:limit]


class CircuitTruth(TaskProtocol):
    """Rank the edges of models whose circuit is known, and compare the ranking with the truth."""

    items: ClassVar[str] = "compiled_model"
    offers: ClassVar[frozenset[str]] = frozenset({"prompt_pairs"})
    accepts: ClassVar[frozenset[str]] = frozenset({"circuit"})
    type: Literal["circuit_truth"]
    forward_batch: Annotated[int, Field(ge=1), NOT_IDENTITY] = 64
    """Rows in one forward pass; its effect is float noise."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import run

        return run(self, job)
