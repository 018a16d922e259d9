"""The process that opens models and runs cells, one after the other; started by `executors.local`.

It reads jobs from one pipe and writes events to another, one JSON object a line. It commits nothing but parts; the
parent decides what becomes of a cell.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .artifacts import ArtifactStore
from .canonical import digest
from .components import Named, Opening, Resource
from .cost import Meter
from .errors import BenchwrightError, Skip
from .job import Job, by_block
from .parts import check, discard_all_but, finished_parts, join, write_part
from .registry import registry

Emit = Callable[[dict[str, Any]], None]
WATCH_S = 1.0
"""Seconds between looks whether the parent is still there."""


class Leaked(BenchwrightError):
    """A model is not as it was when it was opened."""


class Bench:
    """Runs jobs and keeps their models open in between."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.open: dict[str, Resource] = {}

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run one cell and return its outcome: `{"status", "cause", "traceback", "device"}`."""
        try:
            outcome = self._run(job)
        except Leaked as error:
            outcome = {"status": "leaked", "cause": str(error)}
        except Skip as error:
            outcome = {"status": "skipped", "cause": str(error)}
        except BenchwrightError as error:
            outcome = {"status": "failed", "cause": str(error)}
        except MemoryError as error:
            outcome = {"status": "oom", "cause": f"out of memory ({error})", "traceback": traceback.format_exc()}
        except Exception as error:  # noqa: BLE001 - an adapter may fail in any way; the cell records how
            # torch.cuda.OutOfMemoryError, recognised without importing torch
            status = "oom" if type(error).__name__ == "OutOfMemoryError" else "failed"
            cause = f"{type(error).__name__}: {error}"
            outcome = {"status": status, "cause": cause, "traceback": traceback.format_exc()}
        if outcome["status"] != "ok":
            # Whatever went wrong may have left a model changed: the next cell opens it afresh.
            self.close()
        # A lone surrogate in a message could not be written anywhere.
        return {name: text.encode("utf-8", "replace").decode() for name, text in outcome.items()}

    def _run(self, job: dict[str, Any]) -> dict[str, Any]:
        folder = Path(job["partial"])
        task = registry().adapters["task"].validate_json(json.dumps(job["task"]))
        method = registry().adapters["method"].validate_json(json.dumps(job["method"]))
        models = self._models(job)
        opened = Job(
            task=task,
            method=method,
            seed=job["seed"],
            limit=job["limit"],
            models=models,
            fingerprints=job["fingerprints"],
            files=by_block(job["files"]),
            artifacts=ArtifactStore(Path(job["artifacts"])),
            finished=finished_parts(folder),
            device=job["device"],
            threads=job["threads"],
            progress=lambda done, total: self.emit({"event": "progress", "done": done, "total": total}),
        )
        meter = Meter()
        for part in task.protocol.run(opened):
            cost = meter.read()
            self._verify()  # before the part is kept, so that no kept part was made with a changed model
            write_part(folder, part, cost)
            opened.wanted.add(part.name)
            self.emit({"event": "part", "name": part.name})
            meter = Meter()
        self._verify()
        discard_all_but(folder, opened.wanted)
        check(join(folder), {column for metric in task.protocol.metrics() for column in metric.inputs})
        return {"status": "ok", "cause": "", "device": _device_name(job)}

    def _models(self, job: dict[str, Any]) -> dict[str, Resource]:
        """Open what the job needs, closing first what it does not."""
        wanted = {role: digest([job["fingerprints"][role], spec]) for role, spec in job["models"].items()}
        for key in set(self.open) - set(wanted.values()):
            self.open.pop(key).close()
        for role, key in wanted.items():
            if key not in self.open:
                self.emit({"event": "opening", "model": job["models"][role]["name"]})
                spec = registry().adapters["model"].validate_json(json.dumps(job["models"][role]))
                artifacts = ArtifactStore(Path(job["artifacts"]))
                named = _named(job["named"][role])
                opening = Opening(spec.device, spec.dtype, job["threads"], job["weights"][role], artifacts, named)
                self.open[key] = spec.source.open(opening)
        return {role: self.open[key] for role, key in wanted.items()}

    def _verify(self) -> None:
        """Raises Leaked when a model is not as it was opened."""
        for model in self.open.values():
            if changed := model.verify():
                raise Leaked("the model was left changed: " + "; ".join(changed[:5]))

    def close(self) -> None:
        """Close every model."""
        for model in self.open.values():
            model.close()
        self.open.clear()


def _named(specs: Mapping[str, Any]) -> dict[str, Named]:
    """What a source names, read back."""
    return {
        field: Named(
            registry().adapters[n["kind"]].validate_json(json.dumps(n["spec"])),
            n["weights"],
            by_block({n["kind"]: n["files"]}),
            _named(n["named"]),
        )
        for field, n in specs.items()
    }


def _device_name(job: dict[str, Any]) -> str:
    devices = {str(spec["device"]) for spec in job["models"].values()} or {job["device"]}
    torch = sys.modules.get("torch")
    if torch is None or not any(d.startswith("cuda") for d in devices):
        return ", ".join(sorted(devices)) or "cpu"
    return ", ".join(sorted({torch.cuda.get_device_name(d) for d in devices if d.startswith("cuda")}))


def _leave_with(parent: int) -> None:
    """End this process when its parent is gone: nobody would commit, and a resumed run would do the same work."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


def main(jobs: int, events: int) -> None:
    """Serve jobs from the file descriptor `jobs` until it is closed."""
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    with os.fdopen(jobs, encoding="utf-8") as lines, os.fdopen(events, "w", encoding="utf-8") as out:

        def emit(event: dict[str, Any]) -> None:
            out.write(json.dumps(event) + "\n")
            out.flush()

        bench = Bench(emit)
        try:
            for line in lines:
                emit({"event": "end", **bench.run(json.loads(line))})
        except BrokenPipeError:  # the parent is gone, and nobody is left to commit
            os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
