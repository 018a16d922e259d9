"""A third party's plug-in, for tests: a protocol whose methods misbehave in every way that a cell can."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from benchwright.components import (
    NOT_IDENTITY,
    Algorithm,
    Data,
    DataFile,
    MethodName,
    ModelName,
    Opening,
    Resource,
    Source,
    TaskProtocol,
)
from benchwright.errors import Skip
from benchwright.job import Job, Part
from benchwright.metrics import Metric


class Counting(Data):
    """The numbers from 0."""

    yields: ClassVar[str] = "number"
    type: Literal["counting"]
    count: int = 6

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[int]:
        return list(range(self.count))[:limit]


class Box:
    """A model that is a list."""

    def __init__(self) -> None:
        self.content = [1, 2, 3]

    def verify(self) -> list[str]:
        return [] if self.content == [1, 2, 3] else [f"the content is {self.content}"]

    def close(self) -> None:
        self.content = []


class BoxSource(Source):
    """Makes boxes."""

    opens: ClassVar[str] = "box"
    type: Literal["box"]

    def fingerprint(self, digest_of: Any) -> str:
        return "box"

    def open(self, opening: Opening) -> Resource:
        print("opened a box", flush=True)
        return Box()


class ChangedBoxSource(Source):
    """A box that a method has changed: a model that names another model and a method."""

    opens: ClassVar[str] = "box"
    type: Literal["changed_box"]
    base: ModelName
    method: MethodName
    times: int = 1

    def fingerprint(self, digest_of: Any) -> str:
        return "changed"

    def open(self, opening: Opening) -> Resource:
        box = opening.open("base")
        print(f"changed by {opening.named['method'].spec.algorithm.how}, {self.times} times", flush=True)
        return box


class Behave(Algorithm):
    """Does what it is told at the third item."""

    yields: ClassVar[str] = "behaviour"
    type: Literal["behave"]
    how: str
    notes: DataFile | None = None


class Faulty(TaskProtocol):
    """Records each number's square, two numbers a part."""

    roles: ClassVar[Mapping[str, str]] = {"box": "box"}
    items: ClassVar[str] = "number"
    accepts: ClassVar[frozenset[str]] = frozenset({"behaviour"})
    type: Literal["faulty"]
    chunk: Annotated[int, NOT_IDENTITY] = 2

    def metrics(self) -> tuple[Metric, ...]:
        return (Metric("square", "square", "higher", "n²", "arithmetic", unit="count"),)

    def run(self, job: Job) -> Iterator[Part]:
        algorithm = job.method.algorithm
        assert isinstance(algorithm, Behave)
        for name, chunk in job.chunks(job.items(), self.chunk):
            part = Part(name)
            for number in chunk:
                print(f"number {number}", flush=True)
                if number == 5 and algorithm.how == "leak-then-raise":
                    raise RuntimeError("after a leak")
                if number == 3:
                    misbehave(algorithm.how, job)
                if algorithm.how == "slow":
                    time.sleep(0.3)
                value = float("nan") if algorithm.how == "nan" else number**2
                part.items.append({"item": "same" if algorithm.how == "twice" else f"n{number}"})
                if algorithm.how == "unknown":
                    part.record(f"n{number}", "cube", number**3)
                if algorithm.how == "badname":
                    part.exhibits["a/b"] = {}
                part.record(f"n{number}", "square", value)
                part.exhibits[f"n{number}"] = {"type": "text-pair", "title": "n", "rows": [[str(number), "", ""]]}
            yield part


def misbehave(how: str, job: Job) -> None:
    """One way to go wrong."""
    if how == "raise":
        raise RuntimeError("the third item is unlucky")
    if how == "hang":
        time.sleep(600)
    if how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        sys.stdout.flush()
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "leak":
        job.models["box"].content.append(4)  # type: ignore[attr-defined]
    if how == "leak-then-raise":
        job.models["box"].content.append(4)  # type: ignore[attr-defined]
    if how == "orphan":
        if os.fork() == 0:  # holds the worker's pipes open
            time.sleep(300)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "surrogate":
        raise RuntimeError("bad text \udc80")
    if how == "skip":
        raise Skip("this method does not fit this box")
    if how == "memory":
        raise MemoryError("asked for too much")
    if how == "parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
