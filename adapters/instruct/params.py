"""What a task of this family can say of its data and its protocol. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ...components import Data, DataFile, TaskProtocol
from ...metrics import Metric

if TYPE_CHECKING:
    from ...job import Job, Part
    from .contents import Instructions

Count = Annotated[int, Field(ge=1)]


class InstructionRows(Data):
    """Instruction data from a file."""

    yields: ClassVar[str] = "instruction_rows"
    type: Literal["instructions"]
    file: DataFile
    """JSON, JSON Lines (also packed by gzip) or Parquet, in any format of docs/instruct.md."""
    format: str | None = None
    """Its format; recognised by the fields of the first record if empty."""
    evaluation: DataFile | None = None
    """An evaluation set that must not leak into training data: planted as contamination, and what the intrinsic track
    looks for."""

    def load(self, files: Mapping[str, Path], limit: int | None) -> Instructions:
        """See contents.py."""
        from .contents import load

        return load(self, files, limit)


class PlantedDefects(TaskProtocol):
    """A pipeline is given rows of which some are spoiled, and is scored by what it turns away; see planting/."""

    items: ClassVar[str] = "instruction_rows"
    offers: ClassVar[frozenset[str]] = frozenset({"instruction_rows"})
    accepts: ClassVar[frozenset[str]] = frozenset({"selection"})
    type: Literal["planted_defects"]
    clean: Count = 1000
    """Sound rows in the set."""
    each: Count = 15
    """Spoiled rows of each kind and severity."""
    budget: Count = 500
    """Rows that `purity_at_budget` keeps."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import PLANTED

        return PLANTED

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import find_planted

        return find_planted(self, job)
