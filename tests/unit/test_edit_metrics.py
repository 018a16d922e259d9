"""Values of editing metrics with known answers, and what a metric declares."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from benchwright.adapters.editing.metrics import (
    APART,
    CONTRAST,
    KINDS,
    METRICS,
    contrast,
    contrast_values,
    over_kinds,
    retention,
    token_share,
)
from benchwright.metrics import reducer


def test_every_metric_is_declared_once_and_can_be_reduced() -> None:
    ids = [m.id for m in METRICS]
    assert len(ids) == len(set(ids))
    assert {"reliability.exact", "portability.token", "locality.same_subject.exact", "retention.exact"} <= set(ids)
    for metric in METRICS:
        assert metric.definition, metric.id
        assert metric.source, metric.id
        values = metric.value({c: np.array([0.5, 0.5]) for c in metric.inputs})
        assert values == pytest.approx([0.5]), metric.id
    assert {m.unit for m in METRICS if "magnitude" in m.id or m.id == "fluency"} == {"score"}
    assert set(KINDS["portability"]) > APART


def test_token_share() -> None:
    assert token_share((1, 2, 3, 4), (1, 9, 3, 9)) == 0.5


def test_a_measure_is_the_mean_over_kinds_and_diagnostics_stand_apart() -> None:
    by_kind = {"alias": [1.0, 0.5], "two_hop": [0.0], "inverse": [0.0], "chain_of_thought": [1.0], "other": []}
    assert over_kinds("portability", "token", by_kind) == {
        "portability.alias.token": 0.75,
        "portability.two_hop.token": 0.0,
        "portability.inverse.token": 0.0,
        "portability.chain_of_thought.token": 1.0,
        "portability.token": 0.375,
    }
    assert over_kinds("reliability", "exact", {"": [1.0]}) == {"reliability.exact": 1.0}
    assert over_kinds("portability", "exact", {"inverse": [1.0]}) == {"portability.inverse.exact": 1.0}
    assert over_kinds("locality", "exact", {}) == {}
    assert {m.id for m in METRICS} >= set(over_kinds("portability", "token", by_kind))


def test_contrast_of_two_targets() -> None:
    # Probabilities 1/2 and 1/8 per token.
    assert contrast(log(2), log(8)) == pytest.approx((1.0, 0.5 - 0.125))
    assert contrast(log(8), log(2)) == pytest.approx((0.0, 0.125 - 0.5))
    assert contrast(1.0, 1.0) == (0.0, 0.0)


def test_counterfact_s_values() -> None:
    found = contrast_values(
        {
            "efficacy": [(1.0, 2.0)],
            "paraphrase": [(1.0, 2.0), (2.0, 1.0), (3.0, 1.0), (1.0, 3.0)],
            # Here the true target shall stay the more probable one.
            "neighborhood": [(2.0, 1.0), (1.0, 2.0), (4.0, 1.0)],
        }
    )
    a, b, c, d = (exp(-x) for x in (1, 2, 3, 4))
    assert found == pytest.approx(
        {
            "efficacy_score": 1.0,
            "efficacy_magnitude": a - b,
            "paraphrase_score": 0.5,
            "paraphrase_magnitude": 0.0,
            "neighborhood_score": 2 / 3,
            "neighborhood_magnitude": (a - d) / 3,
        }
    )
    assert set(found) == {m.id for m in CONTRAST if not m.columns}
    assert contrast_values({"efficacy": [(1.0, 2.0)], "paraphrase": []}).keys() == {
        "efficacy_score",
        "efficacy_magnitude",
    }
    assert c > d


def test_the_score_is_the_harmonic_mean_of_means() -> None:
    score = next(m for m in CONTRAST if m.id == "counterfact_score")
    columns = {
        "efficacy_score": np.array([1.0, 1.0, 0.0, 0.0]),
        "paraphrase_score": np.array([1.0, 0.0, 0.0, 0.0]),
        "neighborhood_score": np.array([0.0, 1.0, 1.0, 1.0]),
    }
    # Means 1/2, 1/4, 3/4: 3 / (2 + 4 + 4/3).
    assert score.value(columns) == pytest.approx([3 / (2 + 4 + 4 / 3)])
    weights = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    values = score.value(columns, weights)
    assert values[:2] == pytest.approx([3 / (1 + 2 + 2), 0.0])
    assert np.isnan(values[2])
    # A weight of 2 is the item twice.
    doubled = {k: v[[0, 1, 2, 0]] for k, v in columns.items()}
    assert score.value(columns, np.array([[2.0, 1, 1, 0]])) == pytest.approx(score.value(doubled))
    assert reducer("harmonic_mean_of_means")({"a": np.array([0.4])}, np.ones((1, 1))) == pytest.approx([0.4])


def test_retention_asks_only_for_what_was_known() -> None:
    answers = [
        ((1, 2), (1, 2), (1, 2)),  # known, kept
        ((1, 2), (1, 2), (1, 9)),  # known, half lost
        ((1, 2), (1, 9), (1, 9)),  # never known
    ]
    assert retention(answers) == {"retention.exact": 0.5, "retention.token": 0.75}
    assert retention(answers[2:]) == {}
