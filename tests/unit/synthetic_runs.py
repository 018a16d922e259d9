"""Run folders with chosen numbers, written as a run would write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchwright import store
from benchwright.canonical import digest
from benchwright.metrics import Metric

EXACT = Metric("exact", "Exact match", "higher", "Share of answers equal to the target.", "A paper (2024)")
DRIFT = Metric("drift", "Drift", "lower", "Nats moved on other prompts.", "A paper (2024)", unit="nats")

COST = {"wall_s": 12.0, "cpu_s": 40.0, "peak_rss_mb": 512.0, "peak_gpu_mb": None}
PROVENANCE = {
    "benchwright": "0.1.0",
    "commit": "abc1234",
    "python": "3.11.2",
    "platform": "Linux",
    "cpu": "a processor",
    "packages": {"numpy": "2.0"},
    "device": "cpu",
    "started": "2025-01-02T03:04:05Z",
    "finished": "2025-01-02T03:05:05Z",
}


@dataclass(frozen=True)
class SyntheticRun:
    """Writes cells and `run.json` into `path`."""

    path: Path

    def __post_init__(self) -> None:
        (self.path / "cells").mkdir(parents=True, exist_ok=True)

    def cell(
        self,
        method: str,
        columns: Mapping[str, Sequence[float]] | None = None,
        *,
        task: str = "facts",
        models: Mapping[str, str] | None = None,
        seed: int = 0,
        metrics: Sequence[Metric] = (EXACT,),
        settings: Mapping[str, Any] | None = None,
        records: Sequence[Mapping[str, Any]] = (),
        items: Sequence[Mapping[str, Any]] = (),
        exhibits: Mapping[str, Mapping[str, Any]] | None = None,
        algorithm: Mapping[str, Any] | None = None,
        **meta: Any,
    ) -> str:
        """Commit one cell; `columns` are values of items `i000`, `i001`, … Returns the cell's id.

        `settings` is the part of the identity that decides comparability (limit, dtype, data).
        """
        models = {"subject": "tiny"} if models is None else models
        shared = {"task": {"name": task}, "limit": None, "dtype": {"subject": "float32"}, **(settings or {})}
        identity = {**shared, "method": {"name": method, **(algorithm or {})}, "models": models, "seed": seed}
        rows = [
            {"item": f"i{n:03}", "metric": name, "value": value}
            for name, values in (columns or {}).items()
            for n, value in enumerate(values)
        ]
        found = list(dict.fromkeys(row["item"] for row in [*rows, *records]))
        cell: dict[str, Any] = {
            "format": store.FORMAT,
            "id": digest(identity),
            "status": "ok",
            "task": task,
            "method": method,
            "models": models,
            "seed": seed,
            "limit": shared["limit"],
            "identity": identity,
            "comparable": digest(shared),
            "specs": {
                "task": {"name": task, "title": f"The {task} task", "description": f"What {task} measures."},
                "method": {"name": method},
                "models": {},
            },
            "sources": {},
            "metrics": [metric.to_json() for metric in metrics],
            "skipped": {},
            "facts": {},
            "warnings": [],
            "cost": COST,
            "provenance": PROVENANCE,
            "error": None,
        }
        cell |= meta
        store.commit_cell(
            self.path / "cells",
            cell,
            [*rows, *records],
            items or [{"item": item} for item in found],
            exhibits,
        )
        return str(cell["id"])

    def failed(self, method: str, cause: str = "it broke", status: str = "failed", **more: Any) -> str:
        """Commit a cell that did not end ok."""
        error = {
            "cause": cause,
            "traceback": "Traceback …",
            "log": "last line",
            "repeat": f"benchwright run {method}",
        }
        return self.cell(method, status=status, error=error, **more)

    def describe(self, **fields: Any) -> None:
        """Write `run.json`."""
        run = {
            "format": store.FORMAT,
            "created": "2025-01-02T03:04:00Z",
            "command": ["benchwright", "run", "quickstart"],
            "suites": ["quickstart"],
            "cells": [],
            "references": [],
            "gate": None,
        }
        (self.path / "run.json").write_text(json.dumps(run | fields), encoding="utf-8")
