"""What is learned from features: separable classes, ordered probabilities, known lines, and clear refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from benchwright.adapters.vision.classifiers import fitted
from benchwright.adapters.vision.params import Forest, Learned, Linear, SupportVectors
from benchwright.errors import DataError

LINEAR, FOREST, SVM = Linear(type="linear"), Forest(type="forest", trees=40), SupportVectors(type="svm")
ALL = pytest.mark.parametrize("learned", [LINEAR, FOREST, SVM], ids=["linear", "forest", "svm"])
CENTRES = np.array([[0, 0], [6, 0], [0, 6]])


def blobs(count: int, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes in the plane, and a third feature that is constant."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(count) % 3)
    return np.c_[CENTRES[y] + rng.normal(0, spread, (count, 2)), np.full(count, 7)], y


def rising(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes, the second with probability 1 / (1 + exp(−2x))."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (count, 1))
    truth = 1 / (1 + np.exp(-2 * x[:, 0]))
    return x, (rng.random(count) < truth).astype(int), truth


@contextmanager
def refused(message: str) -> Iterator[None]:
    with pytest.raises(DataError, match=message):
        yield


@ALL
def test_classes_that_lie_apart_are_learned(learned: Learned) -> None:
    x, y = blobs(150)
    unseen, truth = blobs(60, seed=1)
    found = fitted(learned, x, y, 3, 0)(unseen)
    assert found.shape == (60, 3)
    assert found.dtype == np.float64
    assert np.mean(found.argmax(1) == truth) > 0.96
    assert found.min() >= 0
    assert found.sum(1) == pytest.approx(1, abs=1e-12)


@ALL
def test_the_same_arguments_give_the_same_probabilities(learned: Learned) -> None:
    x, y = blobs(90, spread=4)
    first = fitted(learned, x, y, 3, 5)(x)
    np.random.seed(99)
    assert np.array_equal(first, fitted(learned, x, y, 3, 5)(x))


@ALL
def test_a_row_does_not_depend_on_its_neighbours(learned: Learned) -> None:
    x, y = blobs(60, spread=4)
    predict = fitted(learned, x, y, 3, 0)
    alone = np.concatenate([predict(row[None]) for row in x[:10]])
    assert predict(x)[:10] == pytest.approx(alone, abs=1e-12)


def test_only_what_is_random_depends_on_the_seed() -> None:
    x, y = blobs(90, spread=4)
    a, b = (fitted(FOREST, x, y, 3, seed)(x) for seed in (0, 1))
    assert not np.array_equal(a, b)
    a, b = (fitted(LINEAR, x, y, 3, seed)(x) for seed in (0, 1))
    assert np.array_equal(a, b)
    # Folds differ, and Platt's sigmoids with them, but not by much.
    a, b = (fitted(SVM, x, y, 3, seed)(x) for seed in (0, 1))
    assert not np.array_equal(a, b)
    assert a == pytest.approx(b, abs=0.2)


@pytest.mark.parametrize("learned", [LINEAR, SVM], ids=["linear", "svm"])
def test_probabilities_are_near_the_truth(learned: Learned) -> None:
    x, y, _ = rising(1000, 0)
    unseen, _, truth = rising(300, 1)
    found = fitted(learned, x, y, 2, 0)(unseen)[:, 1]
    assert np.abs(found - truth).mean() < (0.03 if learned is LINEAR else 0.09)
    if learned is LINEAR:
        order = np.argsort(unseen[:, 0])
        assert (np.diff(found[order]) >= 0).all()


def test_logistic_regression_finds_the_line() -> None:
    x, y, _ = rising(4000, 2)
    predict = fitted(Linear(type="linear", strength=1e6), x, y, 2, 0)
    p = predict(np.array([[0.0], [1.0]]))[:, 1]
    assert np.log(p / (1 - p)) == pytest.approx([0, 2], abs=0.2)


@ALL
def test_a_missing_class_has_its_column(learned: Learned) -> None:
    x, y = blobs(90)
    found = fitted(learned, x, np.array([4, 1, 2])[y], 6, 0)(x)
    assert found.shape == (90, 6)
    assert not found[:, [0, 3, 5]].any()
    assert found.sum(1) == pytest.approx(1)
    assert np.mean(found.argmax(1) == np.array([4, 1, 2])[y]) > 0.96


@ALL
def test_what_cannot_be_learned_is_refused(learned: Learned) -> None:
    x, y = blobs(30)
    with refused("the 30 training labels are of one class"):
        fitted(learned, x, np.zeros(30, int), 3, 0)
    with refused("label 2 is none of the 2 classes"):
        fitted(learned, x, y, 2, 0)
    with refused("label -1 is none"):
        fitted(learned, x, y - 1, 3, 0)
    with refused("label 0.5 is none"):
        fitted(learned, x, y / 2, 3, 0)
    with refused("no scores"):
        fitted(learned, x[:0], y[:0], 0, 0)
    with refused("score 3 is not a finite"):
        fitted(learned, x, np.where(np.arange(30) == 3, np.nan, y), 0, 0)


@ALL
@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_a_feature_that_is_not_finite_is_named(learned: Learned, strange: float) -> None:
    x, y = blobs(30)
    broken = x.copy()
    broken[7, 1] = strange
    with refused("feature 1, counted from 0, is not a finite number"):
        fitted(learned, broken, y, 3, 0)
    for classes in (0, 3):
        predict = fitted(learned, x, y, classes, 0)
        with refused("feature 1"):
            predict(broken)


def test_few_members_of_a_class_mean_fewer_folds_or_a_refusal() -> None:
    x, y = blobs(60)
    rare = np.flatnonzero(y == 2)
    kept = np.r_[np.flatnonzero(y != 2), rare[:2]]
    assert fitted(SVM, x[kept], y[kept], 3, 0)(x[rare]).shape == (20, 3)
    with refused("class 2 has one training label"):
        fitted(SVM, x[kept[:-1]], y[kept[:-1]], 3, 0)
    # The others can do with one.
    for learned in (LINEAR, FOREST):
        assert fitted(learned, x[kept[:-1]], y[kept[:-1]], 3, 0)(x[rare])[:, 2].mean() > 0.2


def test_ridge_recovers_a_line() -> None:
    rng = np.random.default_rng(0)
    x = np.c_[rng.normal(0, [1, 50], (200, 2)), np.ones(200)]
    y = 3 * x[:, 0] - 0.2 * x[:, 1] + 40
    found = fitted(Linear(type="linear", strength=1e9), x, y, 0, 0)(x)
    assert found.shape == (200, 1)
    assert found[:, 0] == pytest.approx(y, abs=1e-5)
    # A penalty of 1/strength per standardised feature: n/(n + α) of each slope is left.
    one = fitted(Linear(type="linear", strength=1 / 200), x[:, :1], x[:, 0], 0, 0)(x[:, :1])[:, 0]
    assert one - x[:, 0].mean() == pytest.approx((x[:, 0] - x[:, 0].mean()) / 2, abs=1e-9)


@pytest.mark.parametrize("learned", [FOREST, SVM], ids=["forest", "svm"])
def test_scores_are_regressed_in_any_unit(learned: Learned) -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (300, 2))
    y = np.sin(3 * x[:, 0])
    unseen = rng.uniform(-0.9, 0.9, (100, 2))
    found = fitted(learned, x, y, 0, 0)(unseen)[:, 0]
    assert np.corrcoef(found, np.sin(3 * unseen[:, 0]))[0, 1] > 0.95
    scaled = fitted(learned, x, 1000 * y + 500, 0, 0)(unseen)[:, 0]
    assert (scaled - 500) / 1000 == pytest.approx(found, abs=0.02)
