"""The generator track: one run as it is, one that is killed and goes on, one more; and a comparison of the three."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ....canonical import digest
from ....job import Job, Part
from ...chat.models import ChatModel
from ...chat.requests import Reply, Request
from ..benches import accounts, benches, own, pipeline_of
from ..contents import Instructions
from ..exhibits import stages
from ..flow import Tally
from ..formats.writing import line_of, record_of
from ..rows import Rejected, Row
from ..stage import Outcome
from .params import GeneratorTruth


class Killed(Exception):
    """Stands for the end of the process."""


@dataclass
class Watched:
    """A model that counts what it is asked, and ends the run after so many replies. See `ChatModel`."""

    model: ChatModel
    most: float = float("inf")
    keys: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def started(self) -> Watched:
        """Itself: it counts over the whole run."""
        return self

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """As the model does. Raises Killed."""
        for i, reply in self.model.answer(requests):
            if len(self.keys) >= self.most:
                raise Killed
            self.keys.append(requests[i].key)
            yield i, reply


@dataclass
class Made:
    """What a run made, and what it asked."""

    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    watched: dict[str, Watched] = field(default_factory=dict)
    tokens: float = 0

    @property
    def keys(self) -> list[str]:
        """Of all requests that a model answered."""
        return [key for watched in self.watched.values() for key in watched.keys]

    @property
    def outcomes(self) -> list[Outcome]:
        """Rows, and what was turned away."""
        return [*self.rows, *self.rejected]

    @property
    def lines(self) -> list[str]:
        """The rows as they would be written."""
        return [digest(line_of(record_of(outcome, "alpaca"))[0]) for outcome in self.outcomes]


def generate(protocol: GeneratorTruth, job: Job) -> Iterator[Part]:
    """Run one cell, in one part."""
    data: Instructions = job.items()
    for name, _ in job.chunks([data], 1):
        with TemporaryDirectory() as first, TemporaryDirectory() as second:
            whole = _made(job, data.rows, Path(first))
            killed = _made(job, data.rows, Path(second), int(len(whole.keys) * protocol.kill_after))
            went_on = _made(job, data.rows, Path(second))
            again = _made(job, data.rows, Path(first))
        part = Part(name, warnings=whole.tally.warnings)
        _lists(part, whole)
        part.items.append({"item": "(run)"})
        rows = len(whole.rows)
        wanted = sum(getattr(s, "count", None) or 0 for s in pipeline_of(job).stages if s.generates)
        if wanted:
            part.record("(run)", "count_error", abs(rows - wanted) / wanted)
        if rows:
            part.record("(run)", "requests_per_row", len(whole.keys) / rows)
            part.record("(run)", "tokens_per_row", whole.tokens / rows)
        kept = {row.id for row in went_on.rows}
        part.record("(run)", "lost_by_kill", sum(row.id not in kept for row in whole.rows))
        part.record("(run)", "paid_twice", len(killed.keys) + len(went_on.keys) - len({*killed.keys, *went_on.keys}))
        part.record("(run)", "same_bytes", whole.lines == went_on.lines == again.lines and not again.keys)
        part.exhibits |= stages(whole.tally)
        part.facts |= {"rows": rows, "requests": len(whole.keys), "answered_before_the_kill": len(killed.keys)}
        yield part


def _made(job: Job, seeds: Sequence[Row], folder: Path, most: float = float("inf")) -> Made:
    """One run, with its journals in `folder`; `most`: replies after which it is killed."""
    made, pipeline = Made(), pipeline_of(job)
    models = own(job, job.models)
    for role in pipeline.models:
        if hasattr(models[role], "answer"):
            made.watched[role] = models[role] = Watched(models[role], most)  # type: ignore[arg-type]
    by_stage = benches(
        pipeline,
        models,
        own(job, job.fingerprints),
        job.files.get("algorithm", {}),
        seed=job.seed,
        journal=lambda role: folder / f"{role}.jsonl",
    )
    with suppress(Killed):
        made.rows += pipeline.run(iter(seeds), by_stage, made.tally, made.rejected.append)
    asked = accounts(by_stage).values()
    made.tokens = sum((account.prompt_tokens or 0) + (account.completion_tokens or 0) for account in asked)
    return made


def _lists(part: Part, made: Made) -> None:
    """For each list that was written, how many items it holds and how many were found; accepted ones over all."""
    found: dict[int, int] = defaultdict(int)
    contains: dict[int, int] = {}
    accepted = 0
    for outcome in made.outcomes:
        row = outcome.row if isinstance(outcome, Rejected) else outcome
        if "contains" not in row.notes:
            continue
        request = int(row.notes["request"])
        contains[request] = int(row.notes["contains"])
        # What broke off, and a reply in which nothing was found, have no place in the list.
        found[request] += "item" in row.notes
        accepted += isinstance(outcome, Row)
    for request, held in sorted(contains.items()):
        item = f"list-{request}"
        part.items.append({"item": item})
        part.record(item, "found", found[request])
        part.record(item, "contained", held)
    if total := sum(found.values()):
        part.record("(run)", "accepted", accepted / total)
