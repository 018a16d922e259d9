"""Scores of predicted classes. Columns: `label`, `predicted`, both class indices; every score follows from the
weighted confusion matrix. A class without predictions (or labels) has precision (or recall) 0, as in scikit-learn's
`zero_division=0`. Definitions: scikit-learn user guide, section "Classification metrics".
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..metrics import Array, Columns, register_reducer

Average = Literal["macro", "weighted", "micro"]


def confusion(columns: Columns, weights: Array, classes: int) -> Array:
    """Weighted counts of shape (samples, true class, predicted class)."""
    label, predicted = (columns[c].astype(int) for c in ("label", "predicted"))
    cells = np.zeros((len(label), classes * classes))
    cells[np.arange(len(label)), label * classes + predicted] = 1.0
    counts: Array = (weights @ cells).reshape(-1, classes, classes)
    return counts


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _parts(counts: Array, score: str) -> tuple[Array, Array]:
    """Numerator and denominator of a score, of shape (samples, classes)."""
    hits = np.einsum("bkk->bk", counts)
    true, predicted = counts.sum(axis=2), counts.sum(axis=1)
    total = counts.sum(axis=(1, 2))[:, None]
    parts = {
        "precision": (hits, predicted),
        "recall": (hits, true),
        "f1": (2 * hits, true + predicted),
        "specificity": (total - true - predicted + hits, total - true),
    }
    return parts[score]


@register_reducer("class_score")
def class_score(
    columns: Columns,
    weights: Array,
    *,
    classes: int,
    score: Literal["precision", "recall", "f1", "specificity"],
    average: Average | None = None,
    of: int | None = None,
) -> Array:
    """Precision, recall, F1 or specificity: of one class (`of`), or averaged over classes.

    `macro` is the mean over classes, `weighted` weighs them by their labels, `micro` pools the counts.
    """
    counts = confusion(columns, weights, classes)
    numerator, denominator = _parts(counts, score)
    if of is not None:
        return _ratio(numerator[:, of], denominator[:, of])
    if average == "micro":
        return _ratio(numerator.sum(axis=1), denominator.sum(axis=1))
    scores = _ratio(numerator, denominator)
    if average == "weighted":
        true = counts.sum(axis=2)
        return _ratio((scores * true).sum(axis=1), true.sum(axis=1))
    return scores.mean(axis=1)


@register_reducer("f1_of_macro_means")
def f1_of_macro_means(columns: Columns, weights: Array, *, classes: int) -> Array:
    """Harmonic mean of macro precision and macro recall; not the mean of F1 over classes (Opitz & Burst 2019)."""
    counts = confusion(columns, weights, classes)
    precision, recall = (_ratio(*_parts(counts, s)).mean(axis=1) for s in ("precision", "recall"))
    return _ratio(2 * precision * recall, precision + recall)


@register_reducer("binary_accuracy")
def binary_accuracy(columns: Columns, weights: Array, *, classes: int, of: int) -> Array:
    """Accuracy of one class against all others."""
    counts = confusion(columns, weights, classes)
    wrong = counts[:, of, :].sum(axis=1) + counts[:, :, of].sum(axis=1) - 2 * counts[:, of, of]
    return 1 - wrong / counts.sum(axis=(1, 2))


@register_reducer("expected_cost")
def expected_cost(columns: Columns, weights: Array, *, costs: list[list[float]]) -> Array:
    """Mean cost of the decisions; `costs[true][predicted]` (Elkan 2001)."""
    counts = confusion(columns, weights, len(costs))
    mean: Array = (counts * np.asarray(costs)).sum(axis=(1, 2)) / counts.sum(axis=(1, 2))
    return mean


@register_reducer("kappa")
def kappa(
    columns: Columns,
    weights: Array,
    *,
    classes: int,
    penalty: Literal["none", "linear", "quadratic"] = "none",
) -> Array:
    """Cohen's kappa: 1 − observed / expected disagreement, each cell weighted 1, |i−j| or (i−j)² (Cohen 1960, 1968)."""
    counts = confusion(columns, weights, classes)
    distance = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(float)
    cost = {"none": (distance > 0).astype(float), "linear": distance, "quadratic": distance**2}[penalty]
    expected = np.einsum("bi,bj->bij", counts.sum(axis=2), counts.sum(axis=1)) / counts.sum(axis=(1, 2))[:, None, None]
    disagreement, by_chance = (counts * cost).sum(axis=(1, 2)), (expected * cost).sum(axis=(1, 2))
    # No disagreement possible by chance: one class only, so kappa is not defined.
    return np.where(by_chance > 0, 1 - disagreement / np.where(by_chance > 0, by_chance, 1), np.nan)


@register_reducer("mcc")
def mcc(columns: Columns, weights: Array, *, classes: int) -> Array:
    """Matthews correlation for several classes, R_K (Gorodkin 2004); 0 where it is 0/0."""
    counts = confusion(columns, weights, classes)
    true, predicted = counts.sum(axis=2), counts.sum(axis=1)
    total, hits = counts.sum(axis=(1, 2)), np.einsum("bkk->b", counts)
    covariance = hits * total - (true * predicted).sum(axis=1)
    spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    return _ratio(covariance, np.sqrt(np.maximum(spread, 0)))
