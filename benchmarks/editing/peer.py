"""Speed, memory and growth of editing beside EasyEdit: `python benchmarks/editing/peer.py --peer CHECKOUT [--write]`.

The whole protocol (evaluation before, edit, evaluation after, restoring) on one thread, on GPT-2s of 12 layers with
random weights: 100 single ROME edits, a MEMIT batch of 100, sequences of GRACE and WISE. Both sides take turns in one
process, since machines are noisy, have the same hyper-parameters (setting.py), contexts and covariances, and open the
model beforehand. Beside them stands the floor (floor.py), measured in the same turns. Without `--peer` its column is
left out. `--write` puts everything into results/editing-peer-cpu.json.

CHECKOUT is a folder with zjunlp/EasyEdit (measured: 14cea82) whose imports this environment can satisfy. One
difference of work remains: the peer scores GRACE by generating texts, so compare GRACE's edits, too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from floor import batch_of, floor
from ours import Ours
from safetensors.torch import save_file
from setting import BATCH, GRACE, ROME_LAYER, VALUE, WEIGHT, WISE
from toy import LAYERS, VOCABULARY, cases, make, opened, records

from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.statistics import second_moments
from benchwright.provenance import environment

RESULTS = Path(__file__).parents[1] / "results" / "editing-peer-cpu.json"
REQUESTS = {"rome": 100, "memit": 100, "grace": 50, "wise": 20}
GROWTH = {"rome": (25, 50, 100, 200), "grace": (10, 100, 1000), "wise": (10, 100, 1000)}


def moments_of(lm: LanguageModel, file: Path) -> dict[int, torch.Tensor]:
    """Second moments of the keys over the requests' own texts, the same for both sides; written to `file`."""
    texts = [tuple(lm.tokenizer(text)["input_ids"]) for record in records(200) for text in record.values()]
    layers = sorted({ROME_LAYER, *BATCH})
    found = second_moments(lm, layers, "mlp_down", texts, 64)
    # So few texts do not span all keys.
    moments = {i: (m + 1e-2 * m.diagonal().mean() * torch.eye(len(m))).float() for i, m in found.items()}
    save_file({f"transformer.h.{i}.mlp.c_proj": m for i, m in moments.items()}, file)
    return moments


def measured(width: int, methods: list[str], share: float, repeats: int, checkout: Path | None) -> dict[str, Any]:
    """CPU seconds for each edit, by method and side: the median of the repeats, and all of them."""
    with TemporaryDirectory() as scratch, chdir(scratch):  # the peer writes logs where it stands
        folder, file = make(Path(scratch), width), Path(scratch) / "moments.safetensors"
        lm, found = opened(folder), {}
        moments, ours, peer = moments_of(lm, file), Ours(lm, file), None
        if checkout is not None:
            from easyedit import EasyEdit

            peer = EasyEdit(checkout, folder, moments)
        for method in methods:
            count = max(1, round(REQUESTS[method] * share))
            spent: dict[str, list[tuple[float, float]]] = {}
            for _ in range(repeats):
                asked = cases(count)
                turns: dict[str, Callable[[], Callable[[], float]]] = {
                    "ours": lambda m=method, c=asked: ours.ready(m, c),
                    **({"peer": lambda m=method, n=count: peer.ready(m, records(n))} if peer else {}),
                }
                for side, ready in turns.items():
                    spent.setdefault(side, []).append(_spent(ready(), count))
                least = floor(lm, method, asked)
                spent.setdefault("floor", []).append((least[0] / count, least[1] / count))
            found[method] = {"edits": count, **_summary(spent)}
            print(width, method, json.dumps(found[method]), flush=True)
    return found


def _spent(work: Callable[[], float], count: int) -> tuple[float, float]:
    """CPU seconds for each edit: of editing, and of the whole protocol."""
    begun = time.process_time()
    edits = work()
    return edits / count, (time.process_time() - begun) / count


def _summary(spent: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """Medians of the seconds, and of the ratios of each turn with their range."""
    found: dict[str, Any] = {}
    for number, part in enumerate(("edit", "whole")):
        seconds = {side: [s[number] for s in turns] for side, turns in spent.items()}
        found[f"{part}_cpu_s"] = {side: round(statistics.median(all_), 5) for side, all_ in seconds.items()}
        pairs = [("times_faster", "peer", "ours"), ("over_floor", "ours", "floor")]
        for name, above, below in pairs:
            if above in seconds:
                ratios = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
                found[f"{part}_{name}"] = [round(f(ratios), 2) for f in (min, statistics.median, max)]
    return found


def memory(width: int, side: str, method: str, count: int, checkout: Path | None) -> dict[str, Any]:
    """Peak memory of the edits above the opened model, in MB; called in a process of its own (Linux)."""
    with TemporaryDirectory() as scratch, chdir(scratch):
        folder, file = make(Path(scratch), width), Path(scratch) / "moments.safetensors"
        lm = opened(folder)
        moments = moments_of(lm, file)
        model = sum(p.numel() * p.element_size() for p in lm.model.parameters()) / 2**20
        if side == "peer":
            from easyedit import EasyEdit

            assert checkout is not None
            work = EasyEdit(checkout, folder, moments).ready(method, records(count))
        elif side == "ours":
            work = Ours(lm, file).ready(method, cases(count))
        else:
            work = batch_of(lm, method, cases(count))
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
        before = _status("VmRSS")
        work()
        return {"model_mb": round(model, 1), "peak_above_mb": round(_status("VmHWM") - before, 1)}


def _status(name: str) -> float:
    """A line of /proc/self/status, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def memories(width: int, methods: list[str], share: float, checkout: Path | None) -> dict[str, Any]:
    """`memory` of each method and side, each in a process of its own."""
    found: dict[str, Any] = {}
    for method in methods:
        count = max(1, round(REQUESTS[method] * share))
        for side in ("ours", "batch", *(("peer",) if checkout else ())):
            told = ["--memory", side, "--methods", method, "--widths", str(width), "--count", str(count)]
            told += ["--peer", str(checkout)] if checkout else []
            command = [sys.executable, str(Path(__file__).resolve()), *told]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.setdefault(method, {})[side] = json.loads(done.stdout.splitlines()[-1])
        sides = found[method]
        whole = {side: s["model_mb"] + s["peak_above_mb"] for side, s in sides.items()}
        sides["over_model_and_batch"] = round(whole["ours"] / whole["batch"], 2)
        print(width, method, json.dumps(sides), flush=True)
    return found


def growth(width: int, methods: list[str], longest: int) -> dict[str, dict[int, float]]:
    """CPU seconds for each edit of sequences of growing length (of ROME: of more and more single edits)."""
    found: dict[str, dict[int, float]] = {}
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "moments.safetensors"
        lm = opened(make(Path(scratch), width))
        moments_of(lm, file)
        ours = Ours(lm, file)
        for method in methods:
            for count in GROWTH.get(method, ()):
                if count <= longest:
                    edits = ours.ready(method, cases(count))()
                    found.setdefault(method, {})[count] = round(edits / count, 5)
                    print(width, method, count, found[method][count], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, help="a checkout of zjunlp/EasyEdit")
    parser.add_argument("--widths", type=int, nargs="+", default=[192, 768])
    parser.add_argument("--methods", nargs="+", default=list(REQUESTS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the requests of each method")
    parser.add_argument(
        "--longest", type=int, default=1000, help="of the sequences of which growth is measured; 0: none"
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--memory", choices=("ours", "peer", "batch"), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    checkout = asked.peer.resolve() if asked.peer else None
    if asked.memory:
        print(json.dumps(memory(asked.widths[0], asked.memory, asked.methods[0], asked.count, checkout)))
        return
    if checkout is None:
        print("no --peer: its figures are left out")
    setting = {"layers": LAYERS, "vocabulary": VOCABULARY, "rome_layer": ROME_LAYER, "memit_layers": BATCH}
    setting |= {"value": VALUE, "memit_weight": WEIGHT, "grace": GRACE, "wise": WISE, "threads": 1}
    found: dict[str, Any] = {"environment": environment(), "setting": setting, "widths": {}}
    for width in asked.widths:
        of_width = found["widths"][width] = {}
        of_width["speed"] = measured(width, asked.methods, asked.share, asked.repeats, checkout)
        of_width["memory"] = memories(width, asked.methods, asked.share, checkout)
    found["growth"] = growth(asked.widths[0], asked.methods, asked.longest)
    if asked.write:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
