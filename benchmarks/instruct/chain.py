"""Throughput and memory of the default chain: `OMP_NUM_THREADS=1 python benchmarks/instruct/chain.py [--write]`.

50,000 rows are made of the shipped 5,000 by repeating them with words dropped, doubled and replaced; each chain runs as
a user would run it. Beside `curate` stands its part that looks at one row at a time (lengths and rules): that one
streams, and its memory must not grow with the file. The others hold 16 bytes or the words of each row that they keep.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchwright.adapters.instruct.formats.records import Broken, records
from benchwright.loading.library import SHIPPED

SIZES = (5_000, 50_000, 200_000)
ROUGE_UP_TO = 50_000
STREAMING = """
kind: method
name: streaming
algorithm: {type: pipeline, stages: [{type: length}, {type: rules}]}
"""


def perturbed(text: str, rng: random.Random, words: list[str]) -> str:
    """A text with one word in six dropped, doubled or replaced."""
    found = []
    for word in text.split(" "):
        change = rng.random() * 18
        found += [] if change < 1 else [word, word] if change < 2 else [rng.choice(words)] if change < 3 else [word]
    return " ".join(found)


def rows(count: int) -> Any:
    """The shipped rows, then copies of them that differ."""
    source = SHIPPED / "data" / "self_instruct" / "self_instruct_5k.jsonl.gz"
    base = [found[1] for found in records(str(source)) if not isinstance(found, Broken)]
    words = sorted({word for row in base for word in row["instruction"].split(" ")})
    rng = random.Random(0)
    yield from islice(base, count)
    for i in range(max(0, count - len(base))):
        row = base[i % len(base)]
        yield {k: perturbed(v, rng, words) if k != "input" else v for k, v in row.items()}


def measured(pipeline: str, file: Path, folder: Path) -> dict[str, Any]:
    """CPU and wall seconds and peak memory of one run."""
    out = folder / "kept.jsonl"
    command = [
        sys.executable,
        "-m",
        "benchwright",
        "instruct",
        "run",
        pipeline,
        "--in",
        str(file),
        "--out",
        str(out),
    ]
    start = time.monotonic()
    process = subprocess.Popen([*command, "--force", "--json"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = json.loads(process.stdout.read())
    _, _, usage = os.wait4(process.pid, 0)
    cpu = usage.ru_utime + usage.ru_stime
    return {
        "cpu_s": round(cpu, 2),
        "wall_s": round(time.monotonic() - start, 2),
        "peak_rss_mb": round(usage.ru_maxrss / 1024),
        "rows_per_cpu_s": round(told["read"] / cpu),
        "kept": told["kept"],
        "stage_cpu_s": {stage["stage"]: stage["cpu_s"] for stage in told["stages"]},
    }


def main() -> None:
    """Measure, print, and with `--write` keep the numbers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    wanted = parser.parse_args()
    result: dict[str, Any] = {}
    with TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "streaming.yaml").write_text(STREAMING)
        for size in SIZES:
            file = folder / f"{size}.jsonl"
            with file.open("w", encoding="utf-8") as lines:
                lines.writelines(json.dumps(row) + "\n" for row in rows(size))
            for pipeline in ("curate", str(folder / "streaming.yaml")):
                if pipeline != "curate" or size <= ROUGE_UP_TO:
                    name = Path(pipeline).stem
                    result.setdefault(name, {})[str(size)] = found = measured(pipeline, file, folder)
                    print(name, size, found, flush=True)
    if wanted.write:
        file = Path(__file__).parents[1] / "results" / "instruct-chain-cpu.json"
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
