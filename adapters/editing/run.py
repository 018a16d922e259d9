"""The track of single facts: the edited prompt, its paraphrases, what must stay, what follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from ...job import Job, Part
from ..lm.patch import Patch
from . import session
from .cases import EditCase
from .controls import Controls
from .metrics import aged
from .params import AskedFacts, Edit
from .probes import references
from .scoring import answers, scored
from .sources.params import EditCases

POINTS = 10
"""Points of the curve of reliability by place in the stream."""


class Facts(session.Track[EditCase]):
    """See `session.Track`."""

    def __init__(self, protocol: AskedFacts, job: Job) -> None:
        super().__init__(protocol, job)
        self.asking = protocol
        self.controls = Controls.of(self.lm, job, protocol.forward_batch)
        data = job.task.data
        assert isinstance(data, EditCases)
        self.likeness = data.likeness(job.files.get("data", {})) if protocol.fluency else None

    def score(
        self, part: Part, models: Sequence[tuple[Sequence[EditCase], Patch]], suffix: str = "", **at: Any
    ) -> None:
        known = iter(
            references(self.lm, [c for cases, _ in models for c in cases], self.asking.forward_batch, self.job)
        )
        edits = [(cases, [next(known) for _ in cases], patch) for cases, patch in models]
        where = iter([place for cases, _ in models for place in range(len(cases))])
        for item, reasons, found in scored(self.lm, edits, self.asking, self.controls, self.job, self.likeness):
            for reason in reasons:
                part.skip(reason)
            place, t = next(where), at.get("T", 1)
            if self.protocol.mode == "sequential" and t > 1:
                found |= aged(found, place, t)
            for metric, value in found.items():
                part.record(item + suffix, metric, value, **at)

    def examples(self, edited: Sequence[tuple[EditCase, Patch]]) -> list[list[str]]:
        rows = []
        for case, patch in edited:
            with patch.applied(self.lm):
                after = answers(self.lm, case, patch)
            if after:
                request = f"{case.request.prompt} → {case.request.target_new}"
                rows.append([request, answers(self.lm, case, Patch()), after])
        return rows

    def show(self, part: Part, edited: Sequence[tuple[EditCase, Patch]]) -> None:
        super().show(part, edited)
        if self.protocol.mode == "sequential" and len(edited) > 1:
            # Of targets that are whole sentences hardly one is said word for word.
            metric = "reliability.token" if self.asking.perplexity else "reliability.exact"
            by_case = {r["item"]: r["value"] for r in part.records if r["metric"] == metric}
            if held := [by_case[c.id] for c, _ in edited if c.id in by_case]:
                part.exhibits["retention"] = by_position(metric, held)


def by_position(metric: str, values: Sequence[float]) -> dict[str, Any]:
    """The curve of a metric over the edits of a stream, in their order, in at most `POINTS` points."""
    count = min(POINTS, len(values))
    bounds = [len(values) * i // count for i in range(count + 1)]
    blocks = [values[start:end] for start, end in pairwise(bounds)]
    return {
        "type": "curve",
        "title": f"How many of {len(values)} edits hold at the end, by their place in the stream",
        "x_label": "place of the edit (the newest last)",
        "y_label": metric,
        "compare": True,
        "series": [
            {
                "name": metric,
                "x": [(start + 1 + end) / 2 for start, end in pairwise(bounds)],
                "y": [fmean(block) for block in blocks],
            }
        ],
    }


def run(protocol: Edit, job: Job) -> Iterator[Part]:
    """Edit and score all cases. Raises DataError when there are too few requests."""
    return session.run(Facts(protocol, job))
