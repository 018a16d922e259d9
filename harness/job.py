"""What a protocol is given (`Job`) and what it gives back (`Part`)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .artifacts import ArtifactStore
from .canonical import digest
from .components import Resource
from .kinds import MethodSpec, TaskSpec
from .provenance import package_version

Item = TypeVar("Item")


def rng(seed: int, stream: str, item: str = "") -> np.random.Generator:
    """A generator for one purpose: independent of method, of order, and of what else was drawn.

    Rivals that ask for the same (seed, stream, item) see the same draws.
    """
    key = hashlib.blake2b(json.dumps([seed, stream, item]).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key, "little")))


def fingerprint(weights: str, source: Mapping[str, Any], dtype: str, device: str, threads: int) -> str:
    """The state of an opened model that an artifact may depend on; with the libraries that compute with it.

    `source`: the identity of the model's source, which may say how prompts are put to it.
    """
    libraries = [package_version(name) for name in ("torch", "transformers")]
    return digest([weights, source, dtype, device.partition(":")[0], threads, *libraries])


def by_block(files: Mapping[str, Mapping[str, str | Path]]) -> dict[str, dict[str, Path]]:
    """`{"task": {"data.labels": …}}` as `{"data": {"labels": …}}`: by building block and field."""
    found: dict[str, dict[str, Path]] = {}
    for of_spec in files.values():
        for place, file in of_spec.items():
            block, _, field = place.partition(".")
            found.setdefault(block, {})[field] = Path(file)
    return found


@dataclass
class Part:
    """A finished piece of a cell: some items, or the state at a checkpoint. Committed at once, never run again."""

    name: str
    """Parts are joined in the order of their names; letters, digits, `.`, `_` and `-`."""
    records: list[dict[str, Any]] = field(default_factory=list)
    """Rows `{"item", "metric", "value"[, "at"]}`; build them with `record`."""
    items: list[dict[str, Any]] = field(default_factory=list)
    """Rows `{"item"[, "cluster", "skipped", attributes…]}`."""
    exhibits: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Exhibits by name; see docs/formats.md for their types."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Probes that were left out, by reason; items are counted from `items`."""
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    """Costs of its own beside time and memory (`edit_cpu_s`), added up over the parts in `cell.json`."""
    state: Mapping[str, np.ndarray] | None = None
    """What the next part of a sequential cell continues from (`Job.state`)."""

    def record(self, item: str, metric: str, value: float | bool | int, **at: Any) -> None:
        """Add one record; `at` is its condition (`T=100`). Raises ValueError for a value that is not finite."""
        if not math.isfinite(value):
            raise ValueError(f"{metric} of item {item} is not finite")
        row: dict[str, Any] = {"item": item, "metric": metric, "value": float(value)}
        self.records.append({**row, "at": at} if at else row)

    def skip(self, reason: str, count: int = 1) -> None:
        """Count probes that were left out."""
        self.skipped[reason] = self.skipped.get(reason, 0) + count


@dataclass
class Job:
    """One cell, opened: specs, items, models, and the services that a protocol may use."""

    task: TaskSpec
    method: MethodSpec
    seed: int
    limit: int | None
    models: Mapping[str, Resource]
    """Opened models by role."""
    fingerprints: Mapping[str, str]
    """Digest of each model's weights, dtype, device class and threads: the state that an artifact may depend on."""
    files: Mapping[str, Mapping[str, Path]]
    """Data files that exist, by building block and field: `files["algorithm"]["file"]`."""
    artifacts: ArtifactStore
    finished: Mapping[str, Mapping[str, np.ndarray] | None] = field(default_factory=dict)
    """Parts of an earlier attempt, with their state."""
    device: str = "cpu"
    """Where it runs, `cuda:1`; a model is opened there already."""
    threads: int = 1
    training: Sequence[Any] = ()
    """What the task's training split offers to methods that learn before they are used; set by the protocol."""
    progress: Callable[[int, int], None] = lambda done, total: None
    wanted: set[str] = field(default_factory=set)
    """Names of the parts that were asked for; what an earlier attempt cut otherwise is dropped at the end."""

    def items(self) -> Any:
        """The task's items, at most `limit`."""
        return self.task.data.load(self.files.get("data", {}), self.limit)

    def rng(self, stream: str, item: str = "") -> np.random.Generator:
        """See `rng`; seeded with the cell's seed."""
        return rng(self.seed, stream, item)

    def chunks(self, items: Sequence[Item], size: int, prefix: str = "") -> Iterator[tuple[str, Sequence[Item]]]:
        """Independent chunks of `size` items that are still to do, each with the name of its part."""
        for start in range(0, len(items), size):
            self.progress(start, len(items))
            chunk = items[start : start + size]
            name = f"{prefix}{start:08d}-{start + len(chunk):08d}"
            if not self.has(name):
                yield name, chunk
        self.progress(len(items), len(items))

    def has(self, name: str) -> bool:
        """Whether an earlier attempt finished the part of this name; asking keeps it."""
        self.wanted.add(name)
        return name in self.finished
