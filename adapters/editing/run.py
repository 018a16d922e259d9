"""The track of single facts: the edited prompt, its paraphrases, what must stay, what follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...job import Job, Part
from ..lm.patch import Patch
from . import session
from .cases import EditCase
from .controls import Controls
from .params import Edit
from .probes import askable, references
from .scoring import answers, scored

EXAMPLES = 5
"""Cases of which the report shows the answer before and after."""


class Facts(session.Track[EditCase]):
    """See `session.Track`."""

    def __init__(self, protocol: Edit, job: Job) -> None:
        super().__init__(protocol, job)
        self.asking = protocol
        self.controls = Controls.of(self.lm, job, protocol.forward_batch)

    def usable(self, cases: Sequence[EditCase]) -> tuple[list[EditCase], dict[str, str]]:
        return askable(self.lm, cases)

    def score(
        self, part: Part, models: Sequence[tuple[Sequence[EditCase], Patch]], suffix: str = "", **at: Any
    ) -> None:
        known = iter(
            references(self.lm, [c for cases, _ in models for c in cases], self.asking.forward_batch, self.job)
        )
        edits = [(cases, [next(known) for _ in cases], patch) for cases, patch in models]
        for item, reasons, found in scored(self.lm, edits, self.asking, self.controls, self.job):
            for reason in reasons:
                part.skip(reason)
            for metric, value in found.items():
                part.record(item + suffix, metric, value, **at)

    def show(self, part: Part, edited: Sequence[tuple[EditCase, Patch]]) -> None:
        rows = []
        for case, patch in edited[:EXAMPLES]:
            with patch.applied(self.lm):
                after = answers(self.lm, case, patch)
            if after:
                request = f"{case.request.prompt} → {case.request.target_new}"
                rows.append([request, answers(self.lm, case, Patch()), after])
        if rows:
            title = "What the model says to the edited prompt, before and after"
            part.exhibits["examples"] = {"type": "text-pair", "title": title, "rows": rows}


def run(protocol: Edit, job: Job) -> Iterator[Part]:
    """Edit and score all cases. Raises DataError when there are too few requests."""
    return session.run(Facts(protocol, job))
