"""Runs a plan: gives cells to workers, commits what they finish, and goes on whatever becomes of one of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import parts
from .artifacts import ArtifactStore, artifact_root
from .errors import Interrupted, RunError
from .executors import Executor, Outcome, Worker
from .loading.resolve import resolved_json
from .plan import PlannedCell
from .provenance import environment, now
from .runfolder import writable
from .store import FORMAT, commit_cell

OnEvent = Callable[[PlannedCell, Mapping[str, Any]], None]


class _Queue:
    """Cells that several workers take from, so that each opens as few models as it can."""

    def __init__(self, cells: Sequence[PlannedCell]) -> None:
        self._lock = threading.Lock()
        self._fresh: dict[str, deque[PlannedCell]] = {}
        """Cells by group, of the groups that no worker has begun."""
        self._begun: dict[str, deque[PlannedCell]] = {}
        for cell in cells:
            self._fresh.setdefault(cell.group, deque()).append(cell)

    def take(self, group: str) -> PlannedCell | None:
        """The next cell: of `group`, whose models the worker has open; else of a group that nobody has begun; else
        of the one that has most left. None when nothing is left."""
        with self._lock:
            left = {name: cells for name, cells in self._begun.items() if cells}
            if group not in left:
                group = next(iter(self._fresh), "") or max(left, key=lambda name: len(left[name]), default="")
            if group in self._fresh:
                self._begun[group] = self._fresh.pop(group)
            return self._begun[group].popleft() if group else None


@dataclass
class Runner:
    """One run of some cells in a locked folder."""

    folder: Path
    executor: Executor
    devices: Sequence[str] = ()
    """Devices that `--device` lists; each runs one worker. Empty: the device of each cell's model."""
    cpu_workers: int = 1
    """Workers side by side on a CPU, where no devices are listed."""
    timeout_s: float | None = None
    on_event: OnEvent = lambda cell, event: None
    repeat: Callable[[PlannedCell], str] = lambda cell: ""
    """The command that repeats a cell."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _workers: list[Worker] = field(default_factory=list)
    _errors: list[BaseException] = field(default_factory=list)

    def run(self, cells: Sequence[PlannedCell]) -> None:
        """Run and commit every cell. Raises Interrupted, RunError (a folder that cannot be written)."""
        queues = self._queues(cells)
        threads = [
            threading.Thread(target=self._guarded, args=(device, queue), daemon=True)
            for device, queue in queues.items()
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except KeyboardInterrupt as error:
            self._end_workers()
            for thread in threads:
                thread.join(15)
            raise Interrupted("interrupted; the same command goes on from here") from error
        if self._errors:
            raise self._errors[0]
        ArtifactStore(artifact_root()).prune()

    def forget(self, cells: Sequence[PlannedCell]) -> None:
        """Drop the finished parts of cells that are to run afresh."""
        for cell in cells:
            parts.discard(self.folder / "partial" / cell.id)

    def _queues(self, cells: Sequence[PlannedCell]) -> dict[str, _Queue]:
        """For each worker's slot, `number:device`, the cells that it may take; workers that may take the same share a
        queue."""
        if self.devices:
            shared = _Queue(cells)
            return {f"{i}:{device}": shared for i, device in enumerate(self.devices)}
        queues: dict[str, _Queue] = {}
        for device in dict.fromkeys(cell.device for cell in cells):
            queue = _Queue([cell for cell in cells if cell.device == device])
            count = min(self.cpu_workers, len(cells)) if device == "cpu" else 1
            queues |= {f"{i if i else ''}:{device}": queue for i in range(count)}
        return queues

    def _guarded(self, slot: str, queue: _Queue) -> None:
        try:
            self._serve(slot, queue)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            self._errors.append(error)
            self._end_workers()

    def _end_workers(self) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.kill()

    def _serve(self, slot: str, queue: _Queue) -> None:
        device = slot.partition(":")[2]
        log = self.folder / "logs" / f"worker-{slot.replace(':', '-').strip('-')}.log"
        worker: Worker | None = None
        threads = 0
        group = ""
        while not self._stop.is_set() and (cell := queue.take(group)) is not None:
            group = cell.group
            if worker is None or threads != cell.threads:
                if worker is not None:
                    worker.close()
                threads = cell.threads
                worker = self.executor.worker(threads, log)
                self._workers.append(worker)
            self._run_cell(worker, cell, device if self.devices else cell.device)
        if worker is not None:
            worker.close()

    def _run_cell(self, worker: Worker, cell: PlannedCell, device: str) -> None:
        started = now()
        partial = self.folder / "partial" / cell.id
        job = cell.job() | {"partial": str(partial.resolve()), "artifacts": str(artifact_root())}
        for spec in [*job["models"].values()][:1]:
            spec["device"] = device
        job["device"] = device
        self.on_event(cell, {"event": "start"})
        with writable(self.folder):
            (self.folder / "logs").mkdir(exist_ok=True)
        outcome = worker.run(job, self.timeout_s, lambda event: self.on_event(cell, event))
        if self._stop.is_set() and outcome.status != "ok":
            return  # interrupted: its parts stay, and it is run again
        with self._lock, writable(self.folder):
            self._commit(cell, outcome, partial, started)
        self.on_event(cell, {"event": "committed", "status": outcome.status, "cause": outcome.cause})

    def _commit(self, cell: PlannedCell, outcome: Outcome, partial: Path, started: str) -> None:
        if outcome.status == "leaked":
            parts.discard(partial)
        try:
            joined = parts.join(partial)
        except (RunError, KeyError, TypeError) as error:
            parts.discard(partial)
            joined, outcome = parts.Joined(), Outcome("failed", f"a finished part is damaged ({error}); run it again")
        meta = self._meta(cell, outcome, joined, started)
        if outcome.status == "ok":
            commit_cell(self.folder / "cells", meta, joined.records, joined.items, joined.exhibits)
            parts.discard(partial)
        else:
            commit_cell(self.folder / "cells", meta)

    def _meta(self, cell: PlannedCell, outcome: Outcome, joined: parts.Joined, started: str) -> dict[str, Any]:
        specs = {"task": cell.task, "method": cell.method}
        error = None
        if outcome.status != "ok":
            error = {
                "cause": outcome.cause,
                "traceback": outcome.traceback,
                "log": outcome.log,
                "repeat": self.repeat(cell),
            }
        return {
            "format": FORMAT,
            "id": cell.id,
            "status": outcome.status,
            **cell.names,
            "seed": cell.seed,
            "limit": cell.limit,
            "identity": cell.identity,
            "comparable": cell.comparable,
            "specs": {
                **{kind: resolved_json(r.spec) for kind, r in specs.items()},
                "models": {role: resolved_json(m.spec) for role, m in {**cell.models, **cell.own}.items()},
            },
            "sources": {kind: r.source for kind, r in specs.items()},
            "metrics": ordered_metrics(cell),
            "skipped": dict(sorted(joined.skipped.items())),
            "facts": joined.facts,
            "warnings": joined.warnings,
            "cost": joined.cost,
            "provenance": {**environment(), "device": outcome.device, "started": started, "finished": now()},
            "error": error,
        }


def ordered_metrics(cell: PlannedCell) -> list[dict[str, Any]]:
    """The protocol's metrics, those that the task names first."""
    metrics = {m.id: m for m in cell.task.spec.protocol.metrics()}
    first = cell.task.spec.metrics
    return [metrics[i].to_json() for i in [*first, *(m for m in metrics if m not in first)]]
