"""Scores of class probabilities. Columns: `label`, then one column for each class in order.

`normalise=True` divides each row by its sum first; published sigmoid outputs need not sum to one, and which of the
two is meant must be said.
"""

from __future__ import annotations

import numpy as np

from ..metrics import Array, Columns, register_reducer

EPSILON = 1e-15
"""Probabilities are clipped to [EPSILON, 1] in the log loss."""


def _split(columns: Columns, normalise: bool) -> tuple[np.ndarray, Array]:
    """Labels of shape (items,) and probabilities of shape (items, classes)."""
    label = columns["label"].astype(int)
    p = np.stack([v for name, v in columns.items() if name != "label"], axis=1)
    return label, p / p.sum(axis=1, keepdims=True) if normalise else p


def _mean(values: Array, weights: Array) -> Array:
    result: Array = weights @ values / weights.sum(axis=1)
    return result


def binary_auc(score: Array, positive: np.ndarray, weights: Array) -> Array:
    """Area under the ROC curve of one score, ties counted half (Mann–Whitney); NaN without both classes."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])
    sorted_weights = weights[:, order]
    is_positive = positive[order].astype(float)
    of_positive = np.add.reduceat(sorted_weights * is_positive, starts, axis=1)
    of_negative = np.add.reduceat(sorted_weights, starts, axis=1) - of_positive
    below = np.cumsum(of_negative, axis=1) - of_negative / 2
    pairs = of_positive.sum(axis=1) * of_negative.sum(axis=1)
    area = (of_positive * below).sum(axis=1)
    return np.where(pairs > 0, area / np.where(pairs > 0, pairs, 1), np.nan)


@register_reducer("auc")
def auc(columns: Columns, weights: Array) -> Array:
    """Area under the ROC curve of the second column, a score, for the first one, which is 0 or 1."""
    positive, score = columns.values()
    return binary_auc(score, positive == 1, weights)


@register_reducer("auc_ovr")
def auc_ovr(columns: Columns, weights: Array, *, normalise: bool, of: int | None = None) -> Array:
    """One-vs-rest AUC: of one class, or the mean over classes (Hand & Till 2001 discuss the alternatives)."""
    label, p = _split(columns, normalise)
    classes = range(p.shape[1]) if of is None else (of,)
    return np.mean([binary_auc(p[:, k], label == k, weights) for k in classes], axis=0)


@register_reducer("log_loss")
def log_loss(columns: Columns, weights: Array) -> Array:
    """Mean −ln of the normalised probability of the label, in nats."""
    label, p = _split(columns, normalise=True)
    return _mean(-np.log(np.clip(p[np.arange(len(label)), label], EPSILON, 1)), weights)


@register_reducer("brier")
def brier(columns: Columns, weights: Array) -> Array:
    """Mean squared distance of normalised probabilities from the one-hot label, summed over classes (Brier 1950)."""
    label, p = _split(columns, normalise=True)
    return _mean(((p - np.eye(p.shape[1])[label]) ** 2).sum(axis=1), weights)


@register_reducer("ece_top1")
def ece_top1(columns: Columns, weights: Array, *, bins: int, normalise: bool) -> Array:
    """Expected calibration error of the top class: |accuracy − confidence| averaged over equal-width bins (l, r].

    Guo et al. 2017, equation 3. Confidences above 1 (sigmoid outputs are below) fall into the last bin.
    """
    label, p = _split(columns, normalise)
    confidence, correct = p.max(axis=1), (p.argmax(axis=1) == label).astype(float)
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    member = np.eye(bins)[index]
    gap = weights @ (member * (correct - confidence)[:, None])
    result: Array = np.abs(gap).sum(axis=1) / weights.sum(axis=1)
    return result
