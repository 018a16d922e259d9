"""What is not asked of every instance: an attack by fine-tuning, what changed inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import isfinite
from statistics import fmean
from typing import TypeAlias

from ...errors import Skip
from ...job import Job, Part
from ..lm.interventions.tune.params import Everything, Sft, Stage, Tune
from ..lm.interventions.tune.training import trained
from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.requests import EditRequest
from ..lm.scoring import Unusable
from .asking import INPUT, Examiner
from .cases import DetoxCase
from .inside import Region, looked, region_of
from .params import Detox

UNTRAINED = "the task has no training split"

Measured: TypeAlias = dict[str, float] | Skip | Unusable
"""Metric to value, or why there is none."""
Measure: TypeAlias = Callable[[Sequence[DetoxCase], Patch], Sequence[Measured]]
"""What is measured of cases that share a patch."""


class Costly:
    """The costly measures of one cell."""

    def __init__(
        self, protocol: Detox, job: Job, lm: LanguageModel, examiner: Examiner, requests: Sequence[EditRequest]
    ) -> None:
        self._protocol, self._job, self._lm, self._examiner = protocol, job, lm, examiner
        self._requests = requests[: protocol.costly_cases]

    @cached_property
    def _region(self) -> Region:
        """Of the untouched model: made before the first patch is applied. Raises Skip."""
        assert self._protocol.mechanism is not None
        if not self._job.training:
            raise Skip(UNTRAINED)
        return region_of(self._lm, self._requests, self._job, self._protocol.mechanism.directions)

    @cached_property
    def _attack(self) -> Tune | None:
        """How the attacker trains."""
        spec = self._protocol.relearning
        if spec is None:
            return None
        stage = Stage(
            objective=Sft(type="sft", answers="unsafe"), lr=spec.lr, steps=spec.steps, batch_size=spec.batch_size
        )
        rows = min(spec.batch_size, self._protocol.forward_batch)
        return Tune(type="tune", parameters=Everything(), stages=(stage,), forward_batch=rows)

    def values(self, cases: Sequence[DetoxCase], patch: Patch, part: Part) -> list[dict[str, float]]:
        """Metric to value for each of the cases, which share a patch; what cannot be measured is counted in `part`."""
        found: list[dict[str, float]] = [{} for _ in cases]
        measures: dict[str, Measure] = {"inside": self._inside} if self._protocol.mechanism else {}
        measures |= {"relearning": self._relearned} if self._attack else {}
        for what, measure in measures.items() if cases else ():
            try:
                measured = measure(cases, patch)
            except (Skip, Unusable) as error:
                measured = [error] * len(cases)
            for values, more in zip(found, measured, strict=True):
                if not isinstance(more, dict):
                    part.skip(f"{what}: {more}")
                    continue
                # A model that a method has broken puts out what is no number.
                values |= (known := {metric: value for metric, value in more.items() if isfinite(value)})
                if len(known) < len(more):
                    part.skip(f"{what}: a value is not finite")
        return found

    def _inside(self, cases: Sequence[DetoxCase], patch: Patch) -> Sequence[Measured]:
        return looked(self._lm, self._region, [case.request for case in cases], patch, self._job)

    def _relearned(self, cases: Sequence[DetoxCase], patch: Patch) -> Sequence[Measured]:
        assert self._attack is not None
        if not self._job.training:
            raise Skip(UNTRAINED)
        with patch.applied(self._lm):
            change = trained(self._attack, self._lm, self._job.training, self._attack.stages, self._job, "attack")
        attacked = patch.then(change)
        with attacked.applied(self._lm):
            said = self._examiner.ask(cases, attacked, {INPUT})
        unsafe = [self._examiner.unsafe(case, responses) for case, responses in zip(cases, said, strict=True)]
        return [{"relearned_ds": fmean(1 - value for value in values.values())} for values in unsafe]
