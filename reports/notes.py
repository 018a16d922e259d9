"""What else the cells say: how many ended how, what was left out, what to mind, where they ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..leaderboards.numbers import counted
from ..store import STATUSES, Cell

_SAID = {
    "oom": "out of memory",
    "timeout": "over the time limit",
    "leaked": "leaked (left the model changed)",
}


@dataclass(frozen=True)
class Failure:
    """A cell that did not end ok."""

    cell: str
    where: str
    status: str
    cause: str
    log: str
    repeat: str


def name(cell: Cell) -> str:
    """`rome, seed 0`."""
    return f"{cell.method}, seed {cell.seed}"


def verdict(cells: Sequence[Cell]) -> str:
    """`12 cells: 10 ok, 1 failed, 1 out of memory`."""
    counts = Counter(str(cell.meta["status"]) for cell in cells)
    parts = [f"{counts[status]} {_SAID.get(status, status)}" for status in STATUSES if counts[status]]
    return f"{counted(len(cells), 'cell')}: {', '.join(parts)}"


def failures(cells: Sequence[Cell]) -> list[Failure]:
    """The cells that did not end ok, with what was recorded of why."""
    found = []
    for cell in cells:
        if not cell.ok:
            error = cell.meta.get("error") or {}
            texts = [str(error.get(key) or "") for key in ("cause", "log", "repeat")]
            found.append(Failure(cell.id, name(cell), str(cell.meta["status"]), *texts))
    return found


def skipped(cells: Sequence[Cell]) -> list[tuple[str, str, str]]:
    """Reason, how many items or probes (`3`, or `1–3` where cells differ), and in how many cells."""
    found: dict[str, list[int]] = {}
    for cell in cells:
        for reason, count in (cell.meta.get("skipped") or {}).items():
            found.setdefault(str(reason), []).append(int(count))
    return [
        (reason, _range(counts), f"{len(counts)} of {counted(len(cells), 'cell')}")
        for reason, counts in sorted(found.items())
    ]


def _range(counts: Sequence[int]) -> str:
    return f"{min(counts)}–{max(counts)}" if min(counts) != max(counts) else str(counts[0])


def warnings(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Each warning once, with how many cells gave it and their methods."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for sentence in dict.fromkeys(cell.meta.get("warnings") or ()):
            found.setdefault(str(sentence), []).append(cell.method)
    return [
        (text, f"in {len(who)} of {counted(len(cells), 'cell')}: {', '.join(dict.fromkeys(who))}")
        for text, who in sorted(found.items())
    ]


def facts(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Each fact about the data; where cells differ, every value."""
    return _distinct([cell.meta.get("facts") or {} for cell in cells])


def provenance(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Each field of the provenance; where cells differ, every value. Times: first start, last end."""
    every = [dict(cell.meta.get("provenance") or {}) for cell in cells]
    started = sorted(str(p.pop("started")) for p in every if p.get("started"))
    finished = sorted(str(p.pop("finished")) for p in every if p.get("finished"))
    rows = _distinct(every)
    return rows + [
        (field, times[i]) for field, times, i in (("started", started, 0), ("finished", finished, -1)) if times
    ]


def _distinct(mappings: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    found: dict[str, dict[str, None]] = {}
    for mapping in mappings:
        for key, value in mapping.items():
            found.setdefault(str(key), {})[_text(value)] = None
    return [(key, "; ".join(values)) for key, values in found.items()]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "none" if value is None else str(value)
