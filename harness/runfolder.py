"""A run's folder: created, locked by one process at a time, described by `run.json`."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import RunError
from .loading.resolve import resolved_json
from .plan import Plan
from .provenance import now
from .store import FORMAT, check_format, read_json, write_atomically


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn what the system says about a folder into a clear RunError; nothing that was committed is lost."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full; free some room, then give the same command again to go on",
            errno.EROFS: "the file system is read-only; choose another place",
            errno.EACCES: "no permission to write there; choose another place",
            errno.EPERM: "no permission to write there; choose another place",
            errno.ENOTDIR: "a file is in the way; choose another place",
            errno.EEXIST: "a file is in the way; choose another place",
        }
        why = reasons.get(error.errno or 0, f"cannot be written ({error.strerror}); choose another place")
        raise RunError(f"{folder}: {why}") from error


@contextmanager
def opened(folder: Path) -> Iterator[Path]:
    """Create and lock a run folder. Raises RunError when it cannot be written or another process runs in it."""
    with writable(folder):
        (folder / "cells").mkdir(parents=True, exist_ok=True)
        if (folder / "run.json").exists():
            check_format(read_json(folder / "run.json"), folder / "run.json")
        stream = (folder / ".lock").open("a+", encoding="utf-8")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise RunError(f"{folder}: {holder} is running in it; wait for it, or choose another --out") from error
        with writable(folder):
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {socket.gethostname()}, since {now()}\n")
            stream.flush()
        yield folder


def describe(folder: Path, plan: Plan, command: Sequence[str]) -> None:
    """Write `run.json`."""
    references = [
        {
            "name": r.name,
            "task": r.spec.task,
            "rows": [
                {**row, "source": {"title": spec_row.source.title, "url": spec_row.source.link}}
                for row, spec_row in zip(resolved_json(r.spec)["rows"], r.spec.rows, strict=True)
            ],
        }
        for r in plan.references
    ]
    body = {
        "format": FORMAT,
        "created": now(),
        "command": list(command),
        "suites": list(plan.suites),
        "cells": [c.id for c in plan.cells],
        # What a cell's identity leaves out and a table shows, as it is now.
        "tasks": {
            task.name: {"title": task.title, "description": task.description, "metrics": task.metrics}
            for task in (c.task.spec for c in plan.cells)
        },
        "references": references,
    }
    with writable(folder):
        write_atomically(folder / "run.json", json.dumps(body, indent=1, ensure_ascii=False) + "\n")
