"""Let the pipeline work, and look at three sets of rows: its own, random ones and the longest, all of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ....job import Job, Part
from ..contents import Instructions
from ..exhibits import stages
from ..rows import Row
from ..selecting import selected
from .params import IntrinsicQualities, LikelihoodQualities
from .qualities import likelihoods, qualities


def look(protocol: IntrinsicQualities, job: Job) -> Iterator[Part]:
    """Run one cell, in one part."""
    data: Instructions = job.items()
    for name, _ in job.chunks([data], 1):
        found = selected(job, data.rows)
        part = Part(name, warnings=found.tally.warnings)
        lm: Any = job.models.get("scorer")
        sets = {"": found.kept, **_rivals(job, data.rows, len(found.kept))}
        for suffix, rows in sets.items():
            columns = qualities(rows, data.evaluation, protocol.alike, protocol.overlap)
            if isinstance(protocol, LikelihoodQualities):
                columns |= likelihoods(rows, lm)
            for column, values in columns.items():
                for row, value in zip(rows, values, strict=True):
                    if value is not None:
                        part.record(row.id, column + suffix, value)
        part.record("(all)", "rows", len(found.kept) / len(data.rows))
        items = {row.id: row for rows in sets.values() for row in rows}
        part.items += [{"item": "(all)"}, *({"item": id_} for id_ in items)]
        part.exhibits |= stages(found.tally)
        part.facts |= {"given": len(data.rows), "kept": len(found.kept)}
        yield part


def _rivals(job: Job, given: Sequence[Row], count: int) -> dict[str, list[Row]]:
    """As many random rows, and as many with the longest answers; all of them where there are fewer."""
    order = job.rng("intrinsic.random").permutation(len(given))[:count]
    longest = sorted(given, key=lambda row: -len(row.output.split()))[:count]
    return {".random": [given[i] for i in sorted(order)], ".longest": longest}
