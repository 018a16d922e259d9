"""ROUGE-L filter against every pair: `OMP_NUM_THREADS=1 python benchmarks/instruct/rouge.py DATA [--write]`.

DATA is a folder with `instruct/alpaca_data_5k.jsonl`, `instruct/self_instruct_5k.jsonl` and `gsm8k/train.jsonl`. Rows
are compared at threshold 0.7 with rouge_score's words, which are cut before the clock starts for the two exact ways of
ours and for all pairs by rapidfuzz; rouge_score cuts its own, as EasyInstruct lets it. Interleaved; CPU seconds of the
fastest round. 52,000 rows are the two sets of instructions and copies with words replaced, put in and dropped.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist
from rouge_score.rouge_scorer import RougeScorer

from benchwright.adapters.instruct.similar.minhash import MinHashIndex
from benchwright.adapters.instruct.similar.nearest import recall
from benchwright.adapters.instruct.similar.rouge import BLOCK, RougeIndex
from benchwright.adapters.instruct.texts import ascii_words

THRESHOLD = 0.7
ROUNDS = 3
FEW, SAMPLE, MANY = 300, 5000, 52_000
SETS = {
    "alpaca": ("instruct/alpaca_data_5k.jsonl", "instruction"),
    "self_instruct": ("instruct/self_instruct_5k.jsonl", "instruction"),
    "gsm8k": ("gsm8k/train.jsonl", "question"),
}
Words = Sequence[list[str]]


def indexed(rows: Words) -> tuple[list[int], int]:
    """Kept rows by the index, and how many pairs it compared."""
    index = RougeIndex(THRESHOLD, rows[:BLOCK])
    kept = []
    for number, words in enumerate(rows):
        coded = index.code(words)
        if index.nearest(coded) is None:
            index.add(coded, str(number))
            kept.append(number)
    return kept, index.compared


def every_pair(rows: Words) -> list[int]:
    """Kept rows when each is compared with all kept ones by rapidfuzz, in blocks."""
    index = RougeIndex(THRESHOLD)
    texts = [index.code(words).text for words in rows]
    lengths = np.array([len(text) for text in texts])
    kept: list[int] = []
    for start in range(0, len(texts), 512):
        block = range(start, min(start + 512, len(texts)))
        pool = [*kept, *block]
        common = cdist(texts[start : block.stop], [texts[k] for k in pool], scorer=LCSseq.similarity, dtype=np.int32)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision, recalled = common / lengths[pool], common / lengths[block, None]
            above = 2 * precision * recalled / (precision + recalled) > THRESHOLD
        chosen = list(range(len(kept)))
        for i, number in enumerate(block):
            if not above[i, chosen].any():
                chosen.append(len(pool) - len(block) + i)
                kept.append(number)
    return kept


def by_rouge_score(texts: Sequence[str]) -> list[int]:
    """Kept rows when rouge_score compares each with all kept ones."""
    scorer = RougeScorer(["rougeL"])
    kept: list[int] = []
    for number, text in enumerate(texts):
        if all(scorer.score(text, texts[k])["rougeL"].fmeasure <= THRESHOLD for k in kept):
            kept.append(number)
    return kept


def perturbed(rows: Words, count: int) -> Words:
    """The rows, and copies in which a tenth to four tenths of the words are replaced, preceded by one or dropped."""
    draw = random.Random(0)
    vocabulary = list(chain.from_iterable(rows))
    found = list(rows)
    while len(found) < count:
        words: list[str] = []
        share = draw.uniform(0.1, 0.4)
        for word in draw.choice(rows):
            change = draw.choice(("replace", "put in", "drop")) if draw.random() < share else ""
            words += [draw.choice(vocabulary)] if change in ("replace", "put in") else []
            words += [word] if change in ("", "put in") else []
        found.append(words)
    draw.shuffle(found)
    return found


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it gives, CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = function()
    return found, time.process_time() - cpu, time.perf_counter() - wall


def compared(texts: Sequence[str]) -> dict[str, Any]:
    """One set of texts: all ways, in turns."""
    cutting = min(timed(lambda: [ascii_words(text) for text in texts])[1] for _ in range(ROUNDS))
    rows = [ascii_words(text) for text in texts]
    ways: dict[str, Callable[[], Any]] = {
        "index_1000": lambda: indexed(rows[:1000]),
        "index_5000": lambda: indexed(rows),
        "every_pair_5000": lambda: every_pair(rows),
        f"index_{FEW}": lambda: indexed(rows[:FEW]),
        f"rouge_score_{FEW}": lambda: by_rouge_score(texts[:FEW]),
    }
    cpu, wall, found = dict.fromkeys(ways, math.inf), dict.fromkeys(ways, math.inf), dict.fromkeys(ways, None)
    for number in range(ROUNDS):
        for name, way in ways.items():
            if number and name.startswith("rouge_score"):
                continue  # a minute of it, once, is enough
            found[name], spent, passed = timed(way)
            cpu[name], wall[name] = min(cpu[name], spent), min(wall[name], passed)
    kept, pairs = found["index_5000"]
    if kept != found["every_pair_5000"] or found[f"index_{FEW}"][0] != found[f"rouge_score_{FEW}"]:
        raise SystemExit("the ways do not keep the same rows")
    return {
        "cpu_s": {"words": round(cutting, 4), **{name: round(value, 4) for name, value in cpu.items()}},
        "wall_s": {name: round(value, 4) for name, value in wall.items()},
        "kept": len(kept),
        "pairs_compared": pairs,
        "pairs": sum(range(len(rows))),
        "times faster than every pair": round(cpu["every_pair_5000"] / cpu["index_5000"], 1),
        f"times faster than rouge_score at {FEW}": round(cpu[f"rouge_score_{FEW}"] / cpu[f"index_{FEW}"], 0),
        "exponent from 1000 to 5000": round(math.log(cpu["index_5000"] / cpu["index_1000"], 5), 2),
    }


def many(rows: Words) -> dict[str, Any]:
    """A set of the size of Alpaca, with near-duplicates."""
    copies = perturbed(rows, MANY)
    (kept, pairs), cpu, wall = timed(lambda: indexed(copies))
    return {"rows": MANY, "kept": len(kept), "pairs_compared": pairs, "cpu_s": round(cpu, 1), "wall_s": round(wall, 1)}


def missed(rows: Words) -> list[dict[str, Any]]:
    """How much of what is near by ROUGE-L MinHash finds."""
    found = []
    for ngram, threshold in ((1, 0.54), (1, 0.7), (2, 0.54), (3, 0.54), (5, 0.8)):
        other = MinHashIndex(threshold, ngram)
        (wanted, hit, extra), cpu, _ = timed(lambda other=other: recall(rows, RougeIndex(THRESHOLD, rows), other))
        told = {"ngram": ngram, "threshold": threshold, "near": wanted, "found": hit, "extra": extra}
        found.append({**told, "recall": round(hit / wanted, 3), "cpu_s": round(cpu, 2)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", action="store_true", help="write results/instruct-rouge-cpu.json")
    asked = parser.parse_args()
    texts = {}
    for name, (file, field) in SETS.items():
        lines = (asked.data / file).read_text(encoding="utf-8").splitlines()[:SAMPLE]
        texts[name] = [json.loads(line)[field] for line in lines]
    said: dict[str, Any] = {"threshold": THRESHOLD, **{name: compared(some) for name, some in texts.items()}}
    instructions = [ascii_words(text) for text in (*texts["alpaca"], *texts["self_instruct"])]
    said["perturbed"] = many(instructions)
    said["minhash_recall_on_5000_perturbed"] = missed(perturbed(instructions, MANY)[:SAMPLE])
    print(json.dumps(said, indent=1))
    if asked.write:
        file = Path(__file__).parents[1] / "results" / "instruct-rouge-cpu.json"
        file.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
