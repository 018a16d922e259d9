"""How rows flow through the stages of a pipeline, one at a time wherever the stages allow it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...errors import BenchwrightError
from .rows import Rejected, Row
from .stage import Stage, Workbench

if TYPE_CHECKING:
    from .methods.pipeline import Pipeline


@dataclass
class StageTally:
    """What one stage has done."""

    name: str
    taken: int = 0
    kept: int = 0
    failed: int = 0
    """Rows that it could not judge, since a model gave no reply."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How many it turned away, by reason."""
    cpu_s: float = 0.0
    """CPU seconds of its own work, in this process."""
    warnings: list[str] = field(default_factory=list)
    """What it has to say of its work as a whole."""

    def to_json(self) -> dict[str, Any]:
        """As it is printed."""
        shown = {"stage": self.name, "in": self.taken, "kept": self.kept, "rejected": dict(self.reasons)}
        return {**shown, "failed": self.failed, "cpu_s": round(self.cpu_s, 3)}


@dataclass
class Tally:
    """What all stages have done, in their order."""

    stages: list[StageTally] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Rows that were not judged."""
        return sum(stage.failed for stage in self.stages)

    @property
    def warnings(self) -> list[str]:
        """What the stages have to say of their work."""
        return [warning for stage in self.stages for warning in stage.warnings]


def flow(
    pipeline: Pipeline,
    rows: Iterator[Row],
    benches: Mapping[str, Workbench],
    tally: Tally,
    turned_away: Callable[[Rejected], object],
) -> Iterator[Row]:
    """The rows that come out at the end; those that a stage turns away are told at once, so that none is held.

    Raises BenchwrightError when a stage that only selects loses a row, or yields one that it was not given.
    """
    stream, clock = rows, _Clock()
    for stage, name in zip(pipeline.stages, pipeline.names, strict=True):
        counts = StageTally(name)
        tally.stages.append(counts)
        stream = _through(stage, stream, benches[name], counts, turned_away, clock)
    return stream


class _Clock:
    """Shares CPU time out among generators that call each other: it runs for whoever works just now."""

    def __init__(self) -> None:
        self._owner: list[StageTally | None] = [None]
        self._since = time.process_time()

    def _charge(self) -> None:
        now = time.process_time()
        if (owner := self._owner[-1]) is not None:
            owner.cpu_s += now - self._since
        self._since = now

    def enter(self, owner: StageTally | None) -> None:
        self._charge()
        self._owner.append(owner)

    def leave(self) -> None:
        self._charge()
        self._owner.pop()


def _through(
    stage: Stage,
    rows: Iterator[Row],
    bench: Workbench,
    counts: StageTally,
    turned_away: Callable[[Rejected], object],
    clock: _Clock,
) -> Iterator[Row]:
    def given() -> Iterator[Row]:
        while True:
            clock.enter(None)  # what is above this stage charges its own account
            row = next(rows, None)
            clock.leave()
            if row is None:
                return
            counts.taken += 1
            yield row

    outcomes = stage.run(given(), replace(bench, warn=lambda said: counts.warnings.append(f"{counts.name}: {said}")))
    while True:
        clock.enter(counts)
        outcome = next(outcomes, None)
        clock.leave()
        if outcome is None:
            break
        if isinstance(outcome, Rejected):
            turned_away(replace(outcome, stage=counts.name))
            counts.failed += outcome.failed
            counts.reasons[outcome.reason] += 1
        else:
            counts.kept += 1
            yield outcome
    if not stage.generates and counts.taken != (yielded := counts.kept + counts.reasons.total()):
        raise BenchwrightError(
            f"stage {counts.name} ({stage.type}) was given {counts.taken} rows and yielded {yielded}"
        )
