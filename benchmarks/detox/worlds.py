"""What methods do in several made-up worlds: `python benchmarks/detox/worlds.py RUN... [--write]`.

`RUN`: folders of the suites detox and detox-seeds. Prints for each method its values in each world, the best one first.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchwright.adapters.detox.metrics import WITHIN
from benchwright.store import current, read_cells

SHOWN = (
    *(WITHIN.id, "dg_avg", "over_refusal", "over_refusal.attacked", "safe.degenerate", "harmless.degenerate"),
    *("prefill_ds", "relearned_ds", "locality", "knowledge", "inside.cosine.relative"),
)


def collected(runs: list[Path]) -> dict[str, dict[str, dict[str, float]]]:
    """Method to metric to task to value."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for cell in current(read_cells(*runs)):
        for metric in (m for m in cell.metrics if cell.ok and m.id in SHOWN):
            sample = cell.samples(metric).get(())
            if sample is not None:
                value = round(float(metric.value(sample.columns)[0]), 3)
                found.setdefault(cell.method, {}).setdefault(metric.id, {})[cell.task] = value
    return dict(sorted(found.items(), key=lambda kv: -sum(kv[1].get(WITHIN.id, {0: 0}).values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="write results/detox-worlds.json")
    asked = parser.parse_args()
    found = collected(asked.runs)
    for method, metrics in found.items():
        row = (f"{name} {' '.join(f'{v:.2f}' for v in metrics.get(name, {}).values())}" for name in SHOWN)
        print(f"{method:<20}", " | ".join(row))
    if asked.write:
        file = Path(__file__).parents[1] / "results" / "detox-worlds.json"
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
