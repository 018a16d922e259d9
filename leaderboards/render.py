"""A leaderboard as CSV, JSON, Markdown, HTML or a table for the terminal. Equal cells give equal bytes."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..stats import Estimate
from ..store import write_atomically
from .html import to_html
from .markdown import to_markdown
from .tables import Leaderboard, Slice, Table
from .terminal import to_rich

__all__ = ["FORMAT", "flat", "to_csv", "to_html", "to_json", "to_markdown", "to_rich", "write_all"]

FORMAT = 1
"""Version of `leaderboard.json`."""

_PARTS = ("value", "low", "high", "items")


def write_all(leaderboard: Leaderboard, folder: Path) -> list[Path]:
    """Write `leaderboard.{csv,md,json,html}` into `folder`, each atomically. Returns their paths."""
    texts = {
        "csv": to_csv(leaderboard),
        "md": to_markdown(leaderboard),
        "json": to_json(leaderboard),
        "html": to_html(leaderboard),
    }
    files = [folder / f"leaderboard.{ending}" for ending in texts]
    for file, text in zip(files, texts.values(), strict=True):
        write_atomically(file, text)
    return files


def flat(leaderboard: Leaderboard) -> tuple[list[str], list[dict[str, Any]]]:
    """All rows of all tables under one header: what the CSV file holds.

    Each metric has four columns: `KEY.value`, `KEY.low`, `KEY.high`, `KEY.items`. None where nothing was
    recorded, and for NaN.
    """
    keys = list(dict.fromkeys(column.key for table in leaderboard.tables for column in table.columns))
    header = [
        "table",
        "task",
        "models",
        "kind",
        "method",
        "rank",
        "status",
        "cause",
        "seeds",
        "failed",
        "items",
    ]
    header += [f"{key}.{part}" for key in keys for part in _PARTS]
    further = dict.fromkeys(name for table in leaderboard.tables for row in table.rows for name in row.further)
    header += ["wall_s", "cpu_s", "peak_rss_mb", *further, "source"]
    rows = []
    for table in leaderboard.tables:
        common: dict[str, Any] = {"table": table.name, "task": table.task, "models": _models(table)}
        for row in table.rows:
            found = common | {"kind": "measured", "method": row.method, "rank": row.rank}
            found |= {"status": row.status, "cause": row.cause, "seeds": row.seeds, "failed": row.failed}
            found |= {"items": row.items, **asdict(row.cost), **row.further}
            for column, estimate in zip(table.columns, row.estimates, strict=True):
                found |= {f"{column.key}.{part}": getattr(estimate, part) for part in _PARTS if estimate}
            rows.append(found)
        for printed in table.published:
            found = common | {"kind": "published", "method": printed.method}
            found |= {f"{c.key}.value": v for c, v in zip(table.columns, printed.values, strict=True)}
            found["source"] = printed.source_url or printed.source_title
            rows.append(found)
    return header, [{name: _finite(row.get(name)) for name in header} for row in rows]


def to_csv(leaderboard: Leaderboard) -> str:
    """All tables in one CSV; empty where a number is missing or undefined."""
    header, rows = flat(leaderboard)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def to_json(leaderboard: Leaderboard) -> str:
    """Everything that the tables hold, with the definitions of the metrics; null for what is undefined."""
    tables = [_table_json(table) for table in leaderboard.tables]
    data = {"format": FORMAT, "kind": "leaderboard", "tables": tables}
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _table_json(table: Table) -> dict[str, Any]:
    keys = [column.key for column in table.columns]
    return {
        "name": table.name,
        "task": table.task,
        "title": table.title,
        "description": table.description,
        "models": dict(table.models),
        "comparable": table.comparable,
        "differs": dict(table.differs),
        "headline": None if table.headline is None else keys[table.headline],
        "columns": [{"key": c.key, "metric": c.metric.id, "at": dict(c.at)} for c in table.columns],
        "metrics": [c.metric.to_json() for c in {c.metric.id: c for c in table.columns}.values()],
        "rows": [
            {
                "method": row.method,
                "title": row.title,
                "rank": row.rank,
                "status": row.status,
                "cause": row.cause,
                "seeds": row.seeds,
                "failed": row.failed,
                "items": row.items,
                "cells": list(row.cells),
                "cost": {name: _finite(value) for name, value in {**asdict(row.cost), **row.further}.items()},
                "values": {key: _estimate(e) for key, e in zip(keys, row.estimates, strict=True)},
            }
            for row in table.rows
        ],
        "published": [
            {
                "method": row.method,
                "reference": row.reference,
                "note": row.note,
                "source": {"title": row.source_title, "url": row.source_url},
                "values": {key: _finite(value) for key, value in zip(keys, row.values, strict=True)},
            }
            for row in table.published
        ],
        "slices": [_slice_json(part) for part in table.slices],
    }


def _slice_json(part: Slice) -> dict[str, Any]:
    rows: Mapping[str, Any] = {
        method: [_estimate(estimate) for estimate in estimates] for method, estimates in part.estimates.items()
    }
    return {"metric": part.metric.to_json(), "at": [dict(c.at) for c in part.columns], "rows": rows}


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else {name: _finite(value) for name, value in asdict(estimate).items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _models(table: Table) -> str:
    return ", ".join(f"{role}={name}" for role, name in sorted(table.models.items()))
