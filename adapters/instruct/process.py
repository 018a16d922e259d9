"""One pipeline on one file: what `benchwright instruct run` and the Python API do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ...alone import OpenedMethod
from ...errors import UsageError
from ..chat.asking import Account as Asked
from .benches import accounts, benches
from .flow import StageTally, Tally
from .formats.reading import READING, rows_of
from .formats.records import Found
from .methods.pipeline import Pipeline
from .rows import Rejected, Row


@dataclass
class Account:
    """How far a run is, and what it has come to."""

    format: str = ""
    kept: int = 0
    reading: StageTally = field(default_factory=lambda: StageTally(READING))
    """Records, and those that are no rows."""
    tally: Tally = field(default_factory=Tally)
    began: float = field(default_factory=time.monotonic)
    asked: Mapping[str, Asked] = field(default_factory=dict)
    """By role, what was asked and what it cost."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Names of the models that the pipeline brings along, by role."""

    @property
    def read(self) -> int:
        """Records so far."""
        return self.reading.taken

    def line(self) -> str:
        """`1,200 rows/s, 5,000 tokens, 0.12 USD`."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        said = [f"{self.read / seconds:,.0f} rows/s"]
        for asked in self.asked.values():
            tokens = None if asked.prompt_tokens is None else asked.prompt_tokens + (asked.completion_tokens or 0)
            said.append("tokens unknown" if tokens is None else f"{tokens:,} tokens")
            if asked.currency is not None:
                said.append("cost unknown" if asked.cost is None else f"{asked.cost:.4f} {asked.currency}")
        return ", ".join(said)

    def warnings(self) -> list[str]:
        """What a reader of the numbers should not overlook."""
        found = self.tally.warnings
        if self.read and not self.kept:
            reasons = Counter(
                {f"{s.name}: {r}": n for s in (self.reading, *self.tally.stages) for r, n in s.reasons.items()}
            )
            most = f" (most: {reasons.most_common(1)[0][0]}, {reasons.most_common(1)[0][1]})" if reasons else ""
            found.append(f"no row was kept{most}")
        elif unreadable := self.reading.reasons.total():
            found.append(f"{unreadable} of {self.read} records could not be read as rows: see the rejected file")
        return found

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        shown: dict[str, Any] = {"format": self.format, "read": self.read, "unreadable": dict(self.reading.reasons)}
        shown |= {"kept": self.kept, "not_judged": self.tally.failed, "models": dict(self.models)}
        shown["warnings"] = self.warnings()
        shown["stages"] = [stage.to_json() for stage in self.tally.stages]
        return {**shown, "asked": {role: asked.to_json() for role, asked in self.asked.items()}}


def process(
    opened: OpenedMethod,
    found: Iterable[Found],
    where: str,
    *,
    keep: Callable[[str, Row], object],
    turn_away: Callable[[str, Rejected], object],
    journal: Callable[[str], Path],
    format: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    account: Account | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Account:
    """Put the records of a file through a pipeline. `keep` and `turn_away` are told the format and each row.

    Raises UsageError where the method is no pipeline, DataError, ModelError.
    """
    pipeline = opened.spec.algorithm
    if not isinstance(pipeline, Pipeline):
        raise UsageError(f"method {opened.spec.name!r} is no pipeline, its algorithm is {pipeline.type!r}")
    account = account or Account()
    name, outcomes = rows_of(found, where, format)
    account.format, account.models = name, opened.names

    def rows() -> Iterator[Row]:
        for outcome in islice(outcomes, limit):
            account.reading.taken += 1
            progress(account.read, limit)
            if isinstance(outcome, Row):
                account.reading.kept += 1
                yield outcome
            else:
                account.reading.reasons[outcome.reason] += 1
                turn_away(name, outcome)

    def told(more: int) -> None:
        progress(account.read, limit)

    by_stage = benches(
        pipeline,
        opened.models,
        opened.fingerprints,
        opened.files,
        seed=seed,
        journal=journal,
        progress=told,
    )
    account.asked = accounts(by_stage)
    for row in pipeline.run(rows(), by_stage, account.tally, lambda rejected: turn_away(name, rejected)):
        account.kept += 1
        keep(name, row)
    return account
