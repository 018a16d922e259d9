"""One process for each device, on this machine. It can be killed, and may die, without harm to the run."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import OnEvent, Outcome

GRACE_S = 10.0
"""Seconds between asking a worker to end and ending it."""
TICK_S = 1.0
"""Seconds between looks whether a silent worker is still alive."""
LOG_LINES = 20
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class LocalExecutor:
    """See the module."""

    def worker(self, threads: int, log: Path) -> LocalWorker:
        """A worker whose process starts with its first job."""
        return LocalWorker(threads, log)


class LocalWorker:
    """A child process behind two pipes; started again after it died."""

    def __init__(self, threads: int, log: Path) -> None:
        self.threads, self.log = threads, log
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs = self._events = -1
        self._buffer = b""
        self._killed = False

    def run(self, job: dict[str, Any], timeout_s: float | None, on_event: OnEvent) -> Outcome:
        """See `Worker.run`."""
        if self._process is not None and self._process.poll() is not None:
            self._end()  # it died between jobs
        if self._process is None:
            self._start()
        if self._killed:
            self._end()
            return Outcome("failed", "ended from outside")
        log_start = self.log.stat().st_size
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        # A worker that dies here is noticed by the end of its events.
        with suppress(BrokenPipeError):
            os.write(self._jobs, (json.dumps(job) + "\n").encode())
        while True:
            line = self._read_line(deadline)
            if line is None:
                self._end()
                return Outcome("timeout", f"ran longer than {timeout_s:g} s", log=self._tail(log_start))
            if not line:
                code = self._end(patience_s=GRACE_S)  # its pipe is closed: it is on its way out
                return Outcome(*_death(code), log=self._tail(log_start))
            event = json.loads(line)
            if event["event"] != "end":
                on_event(event)
                continue
            del event["event"]
            return Outcome(**event, log="" if event["status"] == "ok" else self._tail(log_start))

    def kill(self) -> None:
        """See `Worker.kill`."""
        self._killed = True
        if (process := self._process) is not None:
            _signal_all(process, signal.SIGKILL)

    def close(self) -> None:
        """See `Worker.close`."""
        if self._process is not None:
            os.close(self._jobs)  # the end of its jobs is its sign to leave
            self._jobs = -1
            self._end(patience_s=GRACE_S)

    def _start(self) -> None:
        job_reader, self._jobs = os.pipe()
        self._events, event_writer = os.pipe()
        self._buffer = b""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        limits = {name: str(self.threads) for name in _THREAD_VARIABLES}
        with self.log.open("ab") as output:
            # -P: the working folder must not shadow installed modules. A session of its own: Ctrl-C goes to the parent.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "benchwright.worker", str(job_reader), str(event_writer)],
                pass_fds=(job_reader, event_writer),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **limits, "PYTHONFAULTHANDLER": "1"},
            )
        os.close(job_reader)
        os.close(event_writer)

    def _read_line(self, deadline: float | None) -> bytes | None:
        """The next event; empty when the worker has died, None when the deadline has passed."""
        while b"\n" not in self._buffer:
            left = math.inf if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return None
            ready, _, _ = select.select([self._events], [], [], min(left, TICK_S))
            if not ready:
                # A child of the worker may hold the pipe open after the worker itself has died.
                if self._process is not None and self._process.poll() is not None:
                    return b""
                continue
            received = os.read(self._events, 65536)
            if not received:
                return b""
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _end(self, patience_s: float = 0.0) -> int:
        """Wait for the process, then ask it to end, then end it. Returns its exit code (negative: the signal)."""
        process, self._process = self._process, None
        assert process is not None
        for seconds, sign in ((patience_s, signal.SIGTERM), (GRACE_S, signal.SIGKILL)):
            try:
                process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                _signal_all(process, sign)
        _signal_all(process, signal.SIGKILL)  # what the worker started and left behind
        for descriptor in (self._jobs, self._events):
            if descriptor >= 0:
                os.close(descriptor)
        self._jobs = self._events = -1
        return process.wait()

    def _tail(self, start: int) -> str:
        with self.log.open("rb") as stream:
            stream.seek(start)
            lines = stream.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])


def _signal_all(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    """Signal the worker and whatever it started; it leads a process group of its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, sign)


def _death(code: int) -> tuple[str, str]:
    """Status and cause of a worker that died without a word."""
    if code == -signal.SIGKILL:
        return "oom", "the worker was killed by signal 9: out of memory, or killed from outside"
    if code < 0:
        return "failed", f"the worker died of signal {-code} ({signal.Signals(-code).name})"
    return "failed", f"the worker ended with exit code {code}"
