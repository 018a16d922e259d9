"""Where workers live. An executor makes workers; a worker runs one job at a time and survives nothing but its jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import UsageError, unknown

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """How a job ended, whatever ended it."""

    status: str
    cause: str = ""
    traceback: str = ""
    log: str = ""
    """Last lines that the worker printed."""
    device: str = "cpu"
    """Name of the device, as the driver tells it."""


class Worker(Protocol):
    """Runs jobs; a job that hangs, crashes or is killed gives an Outcome like any other."""

    def run(self, job: dict[str, Any], timeout_s: float | None, on_event: OnEvent) -> Outcome:
        """Run one job to its end, at most `timeout_s` seconds."""
        ...

    def kill(self) -> None:
        """End it now, from another thread; a running job's Outcome tells so."""
        ...

    def close(self) -> None:
        """End it when idle."""
        ...


class Executor(Protocol):
    """Makes workers."""

    def worker(self, threads: int, log: Path) -> Worker:
        """A worker whose numerical libraries use `threads` threads and whose output goes to the file `log`."""
        ...


def executor(name: str) -> Executor:
    """The executor called `local` or `inline`. Raises UsageError."""
    if name == "local":
        from .local import LocalExecutor

        return LocalExecutor()
    if name == "inline":
        from .inline import InlineExecutor

        return InlineExecutor()
    raise UsageError(f"--executor: {unknown('executor', name, ['local', 'inline'])}")
