"""What the extrinsic track measures."""

from __future__ import annotations

from collections.abc import Iterator

from ....metrics import Metric

OWN = "Benchwright, docs/instruct.md"
UNITS = {"rows": "as many rows", "tokens": "as many tokens"}


def _scores(what: str, title: str) -> Iterator[Metric]:
    for unit, same in UNITS.items():
        yield Metric(
            f"gain.{unit}",
            f"gain, {same}",
            "higher",
            f"{what} of a student that learned from the kept rows, minus that of one that learned from random rows of "
            f"the same pool: {same}, the same number shown, question by question",
            OWN,
            unit="score",
        )
    for unit, same in UNITS.items():
        yield Metric(
            f"{title}.{unit}", f"{title}, {same}", "none", f"{what} of the student that learned from kept rows", OWN
        )
    for unit, same in UNITS.items():
        definition = f"{what} of the student that learned from random rows; the same for all methods"
        yield Metric(f"{title}.{unit}.random", f"{title} of random, {same}", "none", definition, OWN)


MICRO = (
    *_scores("share of exact answers", "exact"),
    *(
        Metric(
            f"exact.{unit}.oracle",
            f"exact of the oracle, {same}",
            "none",
            "share of exact answers of the student that learned from rows without faults; the same for all methods",
            OWN,
        )
        for unit, same in UNITS.items()
    ),
    Metric(
        "gain.by_verb",
        "gain",
        "higher",
        "gain with as many rows, by the kind of chore",
        OWN,
        columns=("gain.rows",),
        by="verb",
        unit="score",
    ),
)

PUBLISHED = "Printed by others; Benchwright does not measure it (it needs a judge)"
TUNED = (
    *_scores("mean score of the documents of the general tasks", "general"),
    Metric("general.before", "general before", "none", "the same of the student before it learned anything", OWN),
    Metric(
        "gain.by_benchmark",
        "gain",
        "higher",
        "gain with as many rows, by task and metric of lm-evaluation-harness",
        OWN,
        columns=("gain.rows",),
        by="benchmark",
        unit="score",
    ),
    Metric(
        "open_llm",
        "Open LLM average",
        "none",
        "mean of ARC, HellaSwag, MMLU and TruthfulQA as the Open LLM Leaderboard of 2023 measured them (Cherry's "
        f"tables), or of these with Winogrande and GSM8K (DEITA's). {PUBLISHED} as one number",
        "Hugging Face, Open LLM Leaderboard v1",
    ),
    Metric(
        "mt_bench", "MT-Bench", "none", f"mean grade of a judge, 1 to 10. {PUBLISHED}", "arXiv 2306.05685", unit="score"
    ),
    Metric("alpaca_eval", "AlpacaEval", "none", f"win rate against text-davinci-003. {PUBLISHED}", "AlpacaEval 1.0"),
)
