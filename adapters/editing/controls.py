"""Facts that no edit is about: what else an edited model has forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...job import Job
from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.scoring import Row, Unusable, encode, forced
from .cases import EditCase, Probe
from .metrics import retention
from .sources.params import EditCases
from .told import told


@dataclass(frozen=True)
class Controls:
    """Facts that the untouched model knows."""

    known: tuple[tuple[Probe, Row], ...]

    @classmethod
    def of(cls, lm: LanguageModel, job: Job, batch_size: int) -> Controls:
        """The task's control facts, without those that the untouched model gets wrong or cannot be asked."""
        asked, data = [], job.task.data
        assert isinstance(data, EditCases)
        for probe in data.controls(job.files.get("data", {})):
            try:
                asked.append((probe, encode(lm, probe.prompt, probe.answers[0])))
            except Unusable:
                continue
        said = forced(lm, [row for _, row in asked], batch_size)
        return cls(tuple(a for a, f in zip(asked, said, strict=True) if f.tokens == a[1].target))

    def kept(
        self,
        lm: LanguageModel,
        models: Sequence[tuple[Sequence[EditCase], Any, Patch]],
        owners: Sequence[int],
        batch_size: int,
    ) -> list[dict[str, float]]:
        """Retention of each edited model; they are in force together, and `owners` tell whose rows are whose."""
        rows: list[list[Row]] = []
        for cases, _, patch in models:
            edited = {case.request.fact_id for case in cases}
            asked = [p for p, _ in self.known if not p.facts & edited]
            rows.append([told(lm, patch, probe.prompt, probe.answers[:1])[0] for probe in asked])
        flat = [row for of_model in rows for row in of_model]
        whose = [owner for owner, of_model in zip(owners, rows, strict=True) for _ in of_model]
        said = iter(forced(lm, flat, batch_size, whose))
        # The facts are those that the untouched model answers rightly, so what it said is the right answer.
        return [retention((r.target, r.target, next(said).tokens) for r in of_model) for of_model in rows]
