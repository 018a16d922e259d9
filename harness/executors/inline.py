"""Cells in the calling process: for a debugger and for tests. No time limit, and a crash takes the run along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..worker import Bench
from . import OnEvent, Outcome


class InlineExecutor:
    """See the module."""

    def worker(self, threads: int, log: Path) -> InlineWorker:
        """A worker in this process; the number of threads is set when a model is opened."""
        return InlineWorker()


class InlineWorker:
    """See the module."""

    def __init__(self) -> None:
        self._on_event: OnEvent = lambda event: None
        self._bench = Bench(lambda event: self._on_event(event))

    def run(self, job: dict[str, Any], timeout_s: float | None, on_event: OnEvent) -> Outcome:
        """Run one job. Raises UsageError for a time limit, which nothing here could keep."""
        if timeout_s is not None:
            raise UsageError("--timeout needs a worker process; the inline executor has none")
        self._on_event = on_event
        return Outcome(**self._bench.run(job))

    def kill(self) -> None:
        """Nothing to kill: an interrupt ends the calling process's own work."""

    def close(self) -> None:
        """Close the models."""
        self._bench.close()
