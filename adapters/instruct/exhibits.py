"""Pictures of a cell for the report: what each stage did, and which defects were found."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ...job import Part
from .flow import Tally
from .planting.defects import KINDS, SEVERITIES

Exhibits = dict[str, dict[str, Any]]


def stages(tally: Tally) -> Exhibits:
    """A row for each stage: rows that it was given and kept, and why it turned the others away."""
    rows = [
        [s.name, s.taken, s.kept, ", ".join(f"{reason}: {n}" for reason, n in sorted(s.reasons.items()))]
        for s in tally.stages
    ]
    return {
        "stages": {"type": "table", "title": "Stages", "heads": ["stage", "in", "kept", "turned away"], "rows": rows}
    }


def recalls(part: Part) -> Exhibits:
    """Share of the spoiled rows of each kind and severity that were removed."""
    kinds = {item["item"]: (item["defect"], item["severity"]) for item in part.items if "defect" in item}
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in part.records:
        if record["metric"] == "removal_recall":
            found[kinds[record["item"]]].append(record["value"])
    shown = [kind for kind in KINDS if (kind, SEVERITIES[0]) in found or (kind, SEVERITIES[1]) in found]
    values = [[_share(found[kind, severity]) for severity in SEVERITIES] for kind in shown]
    title = "Share of planted defects that were removed"
    return {"recalls": {"type": "matrix", "title": title, "rows": shown, "columns": list(SEVERITIES), "values": values}}


def _share(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None
