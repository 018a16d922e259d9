"""A cell's rows through its pipeline: what all tracks begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...job import Job
from .benches import benches_of, pipeline_of
from .flow import Tally
from .rows import Rejected, Row


@dataclass
class Selected:
    """What a pipeline made of rows."""

    kept: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


def selected(job: Job, rows: Sequence[Row]) -> Selected:
    """Put rows through the job's pipeline."""
    found = Selected()
    kept = pipeline_of(job).run(iter(rows), benches_of(job), found.tally, found.rejected.append)
    found.kept.extend(kept)
    return found
