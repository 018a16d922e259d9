"""Every reply that was paid for, kept before anything is done with it: a run that goes on pays for nothing twice.

A file of JSON lines, ASCII only, to which lines are added and nothing else:
`{"model": …, "key": …, "purpose": …, "reply": {"text": …, "finish_reason": …, "prompt_tokens": …, "cost": …}}`. Where
`reply` is null, the one before it turned out to be of no use, and a later one counts.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import DataError, RunError
from .requests import Reply, Request

_KEPT = ("text", "finish_reason", "prompt_tokens", "completion_tokens", "cost", "latency_s", "logprobs", "contains")
_BLOCK = 1 << 16


@dataclass
class Journal:
    """The file, and where in it each reply is; several processes may add to it at once."""

    file: Path
    _places: dict[str, dict[bytes, int]] = field(default_factory=dict, init=False, repr=False)
    """By model and key, where the line begins, in bytes."""
    _seen: int = field(default=0, init=False, repr=False)
    """Bytes that have been read."""
    _lines: int = field(default=0, init=False, repr=False)

    def get(self, model: str, key: str) -> Reply | None:
        """The first reply of this model to this request; None where there is none. Raises RunError, and DataError for
        a line that is not the journal's."""
        place = self._place(model, key)
        if place is None:
            self._read_on()
            place = self._place(model, key)
        if place is None:
            return None
        with self.file.open("rb") as stream:
            stream.seek(place)
            reply = json.loads(stream.readline())["reply"]
        return Reply(**{name: reply[name] for name in _KEPT if name in reply}, from_journal=True)

    def add(self, model: str, request: Request, reply: Reply) -> None:
        """Write a reply, and return when it is on the disk. Raises RunError."""
        self._append(model, request, {name: getattr(reply, name) for name in _KEPT})

    def forget(self, model: str, request: Request) -> None:
        """The reply to this request is of no use: it will be asked for again. Raises RunError."""
        self._append(model, request, None)

    def _append(self, model: str, request: Request, kept: dict[str, Any] | None) -> None:
        entry = {"model": model, "key": request.key, "purpose": request.purpose, "reply": kept}
        line = json.dumps(entry, default=dict).encode() + b"\n"
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what did not fit on the disk must not be tried again when the file is closed.
            with self.file.open("a+b", buffering=0) as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)  # until it is closed
                end = _end_of_lines(stream)
                stream.truncate(end)
                _write(stream, line, end)
        except OSError as error:
            raise RunError(f"{self.file}: the journal of replies cannot be written ({error.strerror})") from error
        self._read_on()

    @property
    def models(self) -> list[str]:
        """Whose replies it holds."""
        self._read_on()
        return sorted(self._places)

    def _place(self, model: str, key: str) -> int | None:
        return self._places.get(model, {}).get(bytes.fromhex(key))

    def _read_on(self) -> None:
        """Note where the lines are that have been added, also by other processes."""
        try:
            if self.file.stat().st_size <= self._seen:
                return
            stream = self.file.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"{self.file}: the journal of replies cannot be read ({error.strerror})") from error
        with stream:
            stream.seek(self._seen)
            for line in stream:
                # A line without an end is being written, or is all that a killed process could write.
                if not line.endswith(b"\n"):
                    return
                model, key, useful = self._checked(line)
                places = self._places.setdefault(model, {})
                # The first one counts: whoever reads gets the same reply, whatever is added later.
                if useful:
                    places.setdefault(key, self._seen)
                else:
                    places.pop(key, None)
                self._seen += len(line)
                self._lines += 1

    def _checked(self, line: bytes) -> tuple[str, bytes, bool]:
        try:
            entry: dict[str, Any] = json.loads(line)
            model, key, reply = entry["model"], bytes.fromhex(entry["key"]), entry["reply"]
            sound = isinstance(model, str) and (reply is None or isinstance(reply["text"], str))
        except (ValueError, LookupError, TypeError):
            sound = False
        if not sound:
            raise DataError(
                f"{self.file}: line {self._lines + 1}: not a line of a journal; remove it to go on without it"
            )
        return model, key, reply is not None


def _end_of_lines(stream: BinaryIO | Any) -> int:
    """Where the last whole line ends; what a killed process has left behind it is no reply."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - _BLOCK)
        stream.seek(begin)
        found = stream.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _write(stream: BinaryIO | Any, line: bytes, end: int) -> None:
    """All of the line onto the disk, or nothing of it."""
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[stream.write(rest) :]
        os.fsync(stream.fileno())
    except OSError:
        stream.truncate(end)
        raise
