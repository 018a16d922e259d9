"""Whether a run tells apart methods that are known to differ: `python benchmarks/editing/separation.py RUN [--write]`.

For each pair the means of both and the paired one-sided p-value at every T, streams as units. The expectations are the
literature's: GRACE does not generalize (Wang et al. 2024, arXiv 2405.14768, table 2), fine-tuning disturbs what lies
near (Zhang et al. 2024, arXiv 2401.01286), locate-then-edit carries two-hop questions further than a codebook.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchwright.stats import compare
from benchwright.store import current, read_cells

PAIRS = (
    ("generalization.exact", "grace", "ft-m"),
    ("portability.two_hop.exact", "grace", "rome"),
    ("locality.exact", "ft-m", "grace"),
    ("locality.exact", "rome", "ft-m"),
    ("retention.exact", "lora", "grace"),
)
"""Metric, the method that is known to be worse, and the better one."""
LEVEL = 0.05


def separated(run: Path, task: str) -> list[dict[str, Any]]:
    """A row for each pair and T that both were scored at."""
    cells = {c.method: c for c in current(read_cells(run)) if c.task == task and c.ok}
    rows = []
    for name, worse, better in PAIRS:
        if worse not in cells or better not in cells:
            continue
        metric = next(m for m in cells[worse].metrics if m.id == name)
        low, high = (cells[method].samples(metric) for method in (worse, better))
        for at in low.keys() & high.keys():
            result = compare(metric, [low[at]], [high[at]])
            means = [round(float(metric.value(s.columns)[0]), 3) for s in (low[at], high[at])]
            units = len(set(low[at].clusters))
            p = round(result.p_better, 5)
            rows.append(
                {
                    "metric": name,
                    **dict(at),
                    worse: means[0],
                    better: means[1],
                    "units": units,
                    "p": p,
                    "told": p < LEVEL,
                }
            )
    return sorted(rows, key=lambda row: (row["metric"], str(sorted(row)), row.get("T", 0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    found = {task: separated(asked.run, task) for task in ("atlas-edit", "atlas-lifelong")}
    for task, rows in found.items():
        for row in rows:
            print(task, json.dumps(row))
    if asked.write:
        file = Path(__file__).parents[1] / "results" / "separation-atlas.json"
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
