"""Reducers against scikit-learn, with weights; and their definitions at the edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from benchwright.adapters.iqa.params import Grade, Rate
from benchwright.errors import BenchwrightError
from benchwright.metrics import Metric, reducer

K, N = 3, 400
METRICS = (*Grade(type="grade").metrics(), *Rate(type="rate").metrics())
CLASSES = ("Good", "Usable", "Reject")


def draw(seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(K, size=N)
    raw = np.round(rng.random((N, K)) + np.eye(K)[label], 2)  # rounded, so that there are ties
    raw /= 2.5
    predicted = raw.argmax(axis=1)
    columns = {"label": label, "predicted": predicted, "correct": label == predicted}
    columns |= {f"p.{c}": raw[:, i] for i, c in enumerate(CLASSES)}
    weights = rng.integers(0, 4, size=(5, N)).astype(float)
    return {k: v.astype(float) for k, v in columns.items()}, weights


def normalised(c: dict[str, np.ndarray]) -> np.ndarray:
    p = np.stack([c[f"p.{name}"] for name in CLASSES], axis=1)
    return p / p.sum(axis=1, keepdims=True)


SKLEARN: dict[str, Callable[[dict[str, np.ndarray], np.ndarray], Any]] = {
    "accuracy": lambda c, w: sk.accuracy_score(c["label"], c["predicted"], sample_weight=w),
    "macro_f1": lambda c, w: sk.f1_score(c["label"], c["predicted"], average="macro", sample_weight=w),
    "weighted_f1": lambda c, w: sk.f1_score(c["label"], c["predicted"], average="weighted", sample_weight=w),
    "macro_precision": lambda c, w: sk.precision_score(c["label"], c["predicted"], average="macro", sample_weight=w),
    "balanced_accuracy": lambda c, w: sk.recall_score(c["label"], c["predicted"], average="macro", sample_weight=w),
    "cohen_kappa": lambda c, w: sk.cohen_kappa_score(c["label"], c["predicted"], sample_weight=w),
    "quadratic_weighted_kappa": lambda c, w: sk.cohen_kappa_score(
        c["label"], c["predicted"], weights="quadratic", sample_weight=w
    ),
    "linear_weighted_kappa": lambda c, w: sk.cohen_kappa_score(
        c["label"], c["predicted"], weights="linear", sample_weight=w
    ),
    "mcc": lambda c, w: sk.matthews_corrcoef(c["label"], c["predicted"], sample_weight=w),
    "log_loss_normalised": lambda c, w: sk.log_loss(c["label"], normalised(c), sample_weight=w),
    "macro_auc_ovr_normalised": lambda c, w: np.mean(
        [sk.roc_auc_score(c["label"] == k, normalised(c)[:, k], sample_weight=w) for k in range(K)]
    ),
    "auc_ovr_raw.Reject": lambda c, w: sk.roc_auc_score(c["label"] == 2, c["p.Reject"], sample_weight=w),
}


@pytest.mark.parametrize("name", SKLEARN)
def test_equal_to_scikit_learn_under_weights(name: str) -> None:
    columns, weights = draw()
    metric = {m.id: m for m in METRICS}[name]
    found = metric.value(columns, weights)
    np.testing.assert_allclose(found, [SKLEARN[name](columns, w) for w in weights], atol=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.id)
def test_a_weight_is_a_repetition_and_order_does_not_matter(metric: Metric) -> None:
    columns, weights = draw(1)
    repeated = np.repeat(np.arange(N), weights[0].astype(int))
    shuffled = np.random.default_rng(0).permutation(repeated)
    direct = metric.value({k: v[shuffled] for k, v in columns.items()})
    np.testing.assert_allclose(metric.value(columns, weights[:1]), direct, rtol=1e-12)


def test_a_metric_does_not_depend_on_the_other_samples() -> None:
    columns, weights = draw(2)
    for metric in METRICS:
        alone = np.concatenate([metric.value(columns, w[None]) for w in weights])
        np.testing.assert_allclose(metric.value(columns, weights), alone, rtol=1e-12)


def test_correlations_are_scipy_s_and_have_no_value_without_spread() -> None:
    columns, weights = draw(3)
    columns["predicted"] = np.round(columns["p.Good"] + 0.1 * columns["label"], 1)  # many ties
    for row in weights:
        repeated = {k: np.repeat(v, row.astype(int)) for k, v in columns.items()}
        x, y = repeated["label"], repeated["predicted"]
        expected = {"pearson": stats.pearsonr(x, y)[0], "spearman": stats.spearmanr(x, y)[0]}
        expected |= {"rmse": np.sqrt(((x - y) ** 2).mean()), "mae": np.abs(x - y).mean()}
        for name, value in expected.items():
            assert reducer(name)({"label": columns["label"], "predicted": columns["predicted"]}, row[None])[
                0
            ] == pytest.approx(value, rel=1e-12)
    for n, constant in ((4, 0.1), (37, 3.3), (100, 3.3), (50, 1e6 + 0.1)):
        flat = {"label": np.arange(float(n)), "predicted": np.full(n, constant)}
        for name in ("pearson", "spearman"):
            assert np.isnan(reducer(name)(flat, np.ones((1, n)))[0]), (n, constant)


def test_edges() -> None:
    one = {"label": np.zeros(4), "predicted": np.zeros(4)}
    ones = np.ones((1, 4))
    assert np.isnan(reducer("kappa")(one, ones, classes=2)[0])
    assert reducer("mcc")(one, ones, classes=2)[0] == 0
    # A class that nobody predicts has precision 0 and counts in the mean.
    assert reducer("class_score")(one, ones, classes=2, score="precision", average="macro")[0] == 0.5
    probabilities = {"label": np.zeros(4), "p.a": np.full(4, 0.5), "p.b": np.full(4, 0.5)}
    assert np.isnan(reducer("auc_ovr")(probabilities, ones, normalise=False, of=0)[0])


def test_calibration_error_by_hand() -> None:
    columns = {
        "label": np.array([0.0, 0, 1, 1]),
        "p.a": np.array([0.9, 0.8, 0.8, 0.3]),
        "p.b": np.array([0.1, 0.2, 0.2, 0.7]),
    }
    # Two bins: all four confidences (.9 .8 .8 .7) are above a half, three of four are right: |.75 - .8|.
    found = reducer("ece_top1")(columns, np.ones((1, 4)), bins=2, normalise=False)
    assert found[0] == pytest.approx(0.05)


def test_unknown_reducer() -> None:
    with pytest.raises(BenchwrightError, match="unknown reducer 'kapa'; did you mean 'kappa'"):
        reducer("kapa")


WHOLE = {"full": "value.model", "empty": "value.empty"}


def shares_of(*values: float) -> dict[str, np.ndarray]:
    """Two pairs, one with a whole of 1 and one with a whole of 3: shares are of the means."""
    columns = {"value.model": np.array([1.0, 5.0]), "value.empty": np.array([0.0, 2.0])}
    return columns | {f"c{i}": np.array([0.0, 2.0]) + 2 * v for i, v in enumerate(values)}


def test_a_share_is_of_means_and_not_a_mean_of_shares() -> None:
    columns = shares_of(0.5)
    metric = Metric("f", "f", "none", "", "", tuple(columns), "normalised", {"part": "c0", **WHOLE})
    assert metric.value(columns) == pytest.approx([0.5])
    assert metric.value(columns, np.array([[1.0, 0.0]])) == pytest.approx([1.0])


def test_a_whole_that_is_no_more_than_nothing_has_no_shares() -> None:
    columns = shares_of(0.5) | {"value.model": np.array([0.0, 2.0])}
    metric = Metric("f", "f", "none", "", "", tuple(columns), "normalised", {"part": "c0", **WHOLE})
    assert np.isnan(metric.value(columns)).all()


def test_areas_by_hand() -> None:
    columns = shares_of(0.2, 0.6, 1.0)
    over = {"parts": ("c0", "c1", "c2"), "at": (0.01, 0.1, 1.0), **WHOLE}

    def area(**more: bool) -> float:
        return float(
            Metric("a", "a", "none", "", "", tuple(columns), "normalised_area", {**over, **more}).value(columns)[0]
        )

    assert area() == pytest.approx(0.09 * 0.4 + 0.9 * 0.8)
    assert area(distance=True) == pytest.approx(0.09 * 0.6 + 0.9 * 0.2)
    # On the logarithm both segments are a decade.
    assert area(log=True) == pytest.approx((0.4 + 0.8) / 2)
    assert area(log=True, distance=True) == pytest.approx((0.6 + 0.2) / 2)


def test_a_perfect_circuit_has_the_area_of_the_axis() -> None:
    """MIB's axis begins at 0.1 %, so its best distance-free area is 0.999; on the logarithm it is 1."""
    columns = shares_of(1.0, 1.0)
    over = {"parts": ("c0", "c1"), "at": (0.001, 1.0), **WHOLE}
    for log, expected in ((False, 0.999), (True, 1.0)):
        metric = Metric("a", "a", "none", "", "", tuple(columns), "normalised_area", {**over, "log": log})
        assert metric.value(columns) == pytest.approx([expected])


def test_the_first_size_that_reaches_a_share() -> None:
    columns = shares_of(0.2, 0.85, 0.7)
    options = {"parts": ("c0", "c1", "c2"), "at": (0.01, 0.1, 1.0), "share": 0.8, **WHOLE}
    assert Metric("e", "e", "lower", "", "", tuple(columns), "first_reaching", options).value(columns) == [0.1]
    never = {**options, "share": 0.9}
    assert np.isnan(Metric("e", "e", "lower", "", "", tuple(columns), "first_reaching", never).value(columns)).all()


def test_a_gap_is_of_means_as_a_share_of_the_whole() -> None:
    columns = shares_of(0.5, 0.25, 1.0, 1.5)
    options = {"firsts": ("c0", "c2"), "seconds": ("c1", "c3"), **WHOLE}
    metric = Metric("g", "g", "lower", "", "", tuple(columns), "normalised_gap", options)
    assert metric.value(columns) == pytest.approx([(0.25 + 0.5) / 2])
