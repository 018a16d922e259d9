"""Two files of predictions on the same labels: which is right where the other is wrong, and could that be chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...errors import DataError
from ...metrics import Metric
from ...stats import compare
from ...store import Cell

TESTED = ("accuracy", "macro_f1")


def paired(old: Cell, new: Cell, metrics: Sequence[Metric]) -> dict[str, Any]:
    """McNemar's test of single images, and tests that resample patients. Raises DataError without a shared image.

    `only_old_right`, `only_new_right`: images that one of them alone grades rightly. `mcnemar_exact_p` is two-sided;
    `mcnemar_chi2` has Edwards's continuity correction (1948), one degree of freedom. Both take images for independent,
    which two eyes of a patient are not; `accuracy` and `macro_f1` do not: `gain` is new − old, `p` two-sided (signs of
    patients flipped; paired bootstrap of patients).
    """
    by_id = {m.id: m for m in metrics}
    right = [_right(cell, by_id["accuracy"]) for cell in (old, new)]
    shared = sorted(right[0].keys() & right[1].keys())
    if not shared:
        raise DataError("the two files of predictions share no image")
    only_old = sum(right[0][i] and not right[1][i] for i in shared)
    only_new = sum(right[1][i] and not right[0][i] for i in shared)
    chi2 = mcnemar_chi2(only_old, only_new)
    found: dict[str, Any] = {
        "n": len(shared),
        "only_old_right": only_old,
        "only_new_right": only_new,
        "mcnemar_exact_p": mcnemar_exact(only_old, only_new),
        "mcnemar_chi2": chi2,
        "mcnemar_chi2_p": math.erfc(math.sqrt(chi2 / 2)),
    }
    for name in TESTED:
        samples = [list(cell.samples(by_id[name]).values()) for cell in (old, new)]
        result = compare(by_id[name], *samples)
        found[name] = {
            "gain": result.gain,
            "p": min(1.0, 2 * min(result.p_better, result.p_worse)),
            "test": result.test,
        }
    return found


def mcnemar_exact(one: int, other: int) -> float:
    """Two-sided p of so many discordant pairs each way, by the binomial distribution."""
    n = one + other
    tail = sum(math.comb(n, k) for k in range(max(one, other), n + 1))
    return min(1.0, 2 * tail / 2**n)


def mcnemar_chi2(one: int, other: int) -> float:
    """(|b − c| − 1)² / (b + c); 0 without a discordant pair."""
    return max(0, abs(one - other) - 1) ** 2 / (one + other) if one + other else 0.0


def _right(cell: Cell, accuracy: Metric) -> dict[str, bool]:
    (sample,) = cell.samples(accuracy).values()
    return {item: bool(value) for item, value in zip(sample.items, sample.columns["correct"], strict=True)}
