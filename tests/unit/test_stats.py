"""Intervals and paired tests against closed forms, and against simulations with a known truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchwright.metrics import Array, Columns, Metric, register_reducer
from benchwright.stats import Comparison, compare, compare_each, holm, interval, items_needed, resampling
from benchwright.stats.paired import FLIPS
from benchwright.store import Sample


@register_reducer("test_stats.ratio")
def ratio(columns: Columns, weights: Array) -> Array:
    """Sum of one column over the sum of another: the mean of `hit` where `size` is all ones."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights @ columns["hit"]) / (weights @ columns["size"]))


@register_reducer("test_stats.twice")
def twice(columns: Columns, weights: Array) -> Array:
    """The mean, defined only where the first item was drawn twice or more (26 % of the resamples)."""
    (values,) = columns.values()
    return np.where(weights[:, 0] >= 2, weights @ values / weights.sum(axis=1), np.nan)


def metric(reduce: str = "mean", better: Any = "higher", columns: tuple[str, ...] = ()) -> Metric:
    return Metric("m", "M", better, "a test", "none", columns=columns, reduce=reduce)


RATIO = metric("test_stats.ratio", columns=("hit", "size"))


def sample(values: Sequence[float] | Array | Mapping[str, Array], clusters: Sequence[str] | None = None) -> Sample:
    columns = values if isinstance(values, Mapping) else {"m": np.asarray(values, dtype=float)}
    items = tuple(f"i{n:04d}" for n in range(len(next(iter(columns.values())))))
    return Sample(items, tuple(clusters or items), columns)


def hits(values: Sequence[float] | Array) -> Sample:
    return sample({"hit": np.asarray(values, dtype=float), "size": np.ones(len(values))})


def shuffled(s: Sample) -> Sample:
    return s.take(np.random.default_rng(5).permutation(len(s)))


def paired(lost: int, won: int, same: int, **options: Any) -> Comparison:
    """A comparison of 0/1 results: `lost` items went from 1 to 0, `won` from 0 to 1."""
    old = [1] * lost + [0] * won + [1] * same
    new = [0] * lost + [1] * won + [1] * same
    return compare(metric(**options), [sample(old)], [sample(new)])


# McNemar


def test_mcnemar_is_the_binomial_tail() -> None:
    found = paired(lost=8, won=1, same=91)
    assert found.test == "mcnemar"
    assert found.p_worse == (9 + 1) / 2**9  # C(9, 8) + C(9, 9)
    assert found.p_better == (2**9 - 1) / 2**9
    assert found.gain == pytest.approx(-7 / 100)
    assert (found.items, found.clusters) == (100, 100)


def test_lower_is_better_flips_the_direction() -> None:
    up, down = paired(8, 1, 91), paired(8, 1, 91, better="lower")
    assert (down.gain, down.p_worse, down.p_better) == (-up.gain, up.p_better, up.p_worse)


def test_without_a_changed_item_nothing_is_worse_or_better() -> None:
    for found in (
        paired(0, 0, 50),
        compare(RATIO, [hits([0, 1, 1])], [hits([0, 1, 1])]),
        compare(metric(), [sample([0.5, 0.25])] * 2, [sample([0.5, 0.25])] * 2),
    ):
        assert (found.gain, found.low, found.p_worse, found.p_better, found.spread) == (0, 0, 1, 1, 0)


def test_low_is_the_normal_one_sided_bound() -> None:
    found = paired(lost=20, won=10, same=270)
    d = np.array([-1.0] * 20 + [1.0] * 10 + [0.0] * 270)
    assert found.spread == pytest.approx(d.std(ddof=1))
    assert found.low == pytest.approx(d.mean() - 2.3263478740408408 * d.std(ddof=1) / math.sqrt(300))


def test_mcnemar_stays_exact_for_thousands_of_changes() -> None:
    found = paired(lost=5000, won=5000, same=0)
    central = math.comb(10_000, 5000) / 2**10_000
    assert found.p_worse == pytest.approx((1 + central) / 2, rel=1e-12)


# sign flips


@pytest.mark.parametrize(
    ("change", "p_worse", "p_better"),
    [
        ([1, 2, 4], 8 / 8, 1 / 8),
        ([-1, 2], 3 / 4, 2 / 4),  # the flips give -3, -1, 1, 3; the total is 1
        ([0.1, 0.2, -0.3], 5 / 8, 5 / 8),  # a total of zero, but for rounding
    ],
)
def test_sign_flips_of_few_units_are_enumerated(change: list[float], p_worse: float, p_better: float) -> None:
    found = compare(metric(), [sample([0.0] * 5)], [sample([*change, 0.0, 0.0][:5])])
    assert (found.test, found.p_worse, found.p_better) == ("sign-flip", p_worse, p_better)


def test_sign_flips_of_many_units_agree_with_the_normal_tail() -> None:
    change = np.random.default_rng(1).normal(0.15, 1.0, 200)
    found = compare(metric(), [sample(np.zeros(200))], [sample(change)])
    z = change.sum() / math.sqrt((change**2).sum())
    assert found.p_better == pytest.approx(NormalDist().cdf(-z), abs=0.01)
    assert found.p_worse == pytest.approx(NormalDist().cdf(z), abs=0.01)


def test_a_monte_carlo_p_value_is_never_zero() -> None:
    found = compare(metric(), [sample(np.ones(50) * 0.9)], [sample(np.zeros(50))])
    assert found.p_worse == 1 / (1 + FLIPS)


def test_clusters_are_the_units_that_flip() -> None:
    """Ten clusters of five equal items are ten observations, not fifty."""
    clusters = [f"c{n // 5}" for n in range(50)]
    new = np.repeat([0.0] * 8 + [1.0] * 2, 5)
    together = compare(metric(), [sample(np.repeat([1.0] * 9 + [0.0], 5))], [sample(new, clusters)])
    apart = paired(lost=8, won=1, same=1)
    assert (together.test, together.clusters) == ("sign-flip", 10)
    # clusters 0-7 lost, cluster 8 kept its 1, cluster 9 went from 0 to 1
    assert together.p_worse == pytest.approx(apart.p_worse)
    assert together.low == pytest.approx(apart.low)
    assert together.spread == pytest.approx(apart.spread)


def test_clusters_of_unequal_sizes_with_equal_losses_have_no_spread() -> None:
    found = compare(metric(), [sample([1.0] * 6)], [sample([0.0] * 6, ["a", "b", "b", "c", "c", "c"])])
    assert (found.gain, found.low, found.spread, found.p_worse) == (-1.0, -1.0, 0.0, 1 / 8)


def test_one_cluster_says_nothing_about_the_spread() -> None:
    for m, make in ((metric(), sample), (RATIO, hits)):
        new = make([0.0] * 20)
        found = compare(m, [make([1.0] * 20)], [Sample(new.items, ("c",) * 20, new.columns)])
        assert found.gain == -1
        assert found.p_worse >= 0.5
        assert math.isnan(found.low)
        assert math.isnan(found.spread)


# bootstrap


def test_bootstrap_agrees_with_the_normal_tail() -> None:
    rng = np.random.default_rng(2)
    old = rng.random(300)
    new = old + rng.normal(-0.02, 0.2, 300)
    found = compare(RATIO, [hits(old)], [hits(new)])
    d = new - old
    error = d.std() / math.sqrt(300)
    assert found.test == "bootstrap"
    assert found.gain == pytest.approx(d.mean())
    assert found.p_worse == pytest.approx(NormalDist().cdf(d.mean() / error), abs=0.01)
    assert found.low == pytest.approx(d.mean() - 2.3263 * error, abs=0.15 * error)
    assert found.spread == pytest.approx(d.std(), rel=0.05)


def test_bootstrap_of_few_changes_is_no_surer_than_a_sign_test() -> None:
    found = compare(RATIO, [hits([1.0] * 300)], [hits([0.0] * 5 + [1.0] * 295)])
    assert found.p_worse == 1 / 2**5  # only 0.67 % of the resamples draw none of the five
    assert found.p_better == pytest.approx(1.0)


@pytest.mark.parametrize(("loss", "least", "most"), [(0.0, 0.01, 0.08), (0.2, 0.7, 1.0)])
def test_bootstrap_keeps_its_level_and_sees_a_loss(loss: float, least: float, most: float) -> None:
    """150 replications at level 0.05: a 70 % base where 17 % of the items change without a loss."""
    rng = np.random.default_rng(3)
    old = rng.random((150, 60)) < 0.7
    down, up, hurt = (rng.random(old.shape) < rate for rate in (0.4 * 0.3, 0.4 * 0.7, loss / 0.7))
    new = np.where(old, ~(down | hurt), up)
    alarms = [compare(RATIO, [hits(a)], [hits(b)]).p_worse < 0.05 for a, b in zip(old, new, strict=True)]
    assert least <= np.mean(alarms) <= most


@pytest.mark.parametrize("tested", [RATIO, metric(columns=("hit",))], ids=["bootstrap", "mean"])
def test_comparing_each_with_each_gives_the_numbers_of_each_pair(tested: Metric) -> None:
    """Draws shared by all rivals are those that each pair would make; also for two seeds, and other items."""
    rng = np.random.default_rng(4)
    rivals = {name: [shuffled(hits(rng.random(40) < p)) for _ in range(n)] for name, p, n in RIVALS}
    for samples in (rivals, {**rivals, "few": [hits(rng.random(30))]}):
        found = {(one, other): result for one, other, result in compare_each(tested, samples, resamples=500)}
        assert len(found) == len(samples) * (len(samples) - 1) / 2
        for (one, other), result in found.items():
            assert result == compare(tested, samples[one], samples[other], resamples=500)


RIVALS = (("a", 0.3, 1), ("b", 0.5, 2), ("c", 0.9, 1))


def test_rivals_without_a_shared_item_are_not_compared() -> None:
    other = sample({"hit": np.ones(2), "size": np.ones(2)})
    other = Sample(("x", "y"), ("x", "y"), other.columns)
    assert not list(compare_each(RATIO, {"a": [hits([1.0, 0.0])], "b": [other]}))
    assert not list(compare_each(RATIO, {"a": [hits([1.0, 0.0])]}))


# seeds and alignment


def test_items_are_averaged_over_seeds() -> None:
    old = [sample([1.0, 0.0, 1.0]), sample([1.0, 1.0, 0.0])]
    new = [sample([0.0, 0.0, 1.0]), sample([0.0, 1.0, 1.0])]
    found = compare(metric(), old, new)
    assert found.test == "sign-flip"  # the changes are -1, 0 and 1/2
    assert found.gain == pytest.approx(-1 / 6)
    assert (found.p_worse, found.p_better) == (2 / 4, 3 / 4)
    assert (found.items, found.clusters) == (3, 3)


def test_only_shared_items_are_compared_and_by_name() -> None:
    old = sample([1.0, 1.0, 1.0, 0.0])
    new = Sample(("other", "i0003", "i0001"), ("other", "i0003", "i0001"), {"m": np.array([0.0, 1.0, 0.0])})
    found = compare(metric(), [old], [new])
    assert (found.items, found.gain) == (2, 0.0)  # one won, one lost
    assert found.p_worse == found.p_better == 3 / 4


def test_the_clusters_are_those_of_the_new_side() -> None:
    old, new = sample([1.0] * 4, ["a"] * 4), sample([0.0] * 4, ["a", "a", "b", "b"])
    assert compare(metric(), [old], [new]).clusters == 2
    assert compare(metric(), [new], [old]).clusters == 1


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="no direction"):
        compare(metric(better="none"), [sample([1.0])], [sample([1.0])])
    with pytest.raises(ValueError, match="no shared items"):
        compare(metric(), [sample([1.0]).take([])], [sample([1.0])])
    with pytest.raises(ValueError, match="no items"):
        interval(metric(), [])


def test_rounding_is_not_a_change() -> None:
    """The seeds of the two sides come in another order, and so do the sums."""
    seeds = [sample([0.1, 0.7]), sample([0.2, 0.1]), sample([0.3, 0.6])]
    assert sum([0.1, 0.2, 0.3]) != sum([0.3, 0.2, 0.1])
    assert compare(metric(), seeds, seeds[::-1]).p_worse == 1.0
    assert compare(metric(), seeds, seeds[::-1]).gain == 0.0


@pytest.mark.parametrize("case", ["mcnemar", "sign-flip", "bootstrap"])
def test_order_and_global_state_change_nothing(case: str) -> None:
    rng = np.random.default_rng(4)
    if case == "mcnemar":
        m, old, new = metric(), sample(rng.random(60) < 0.5), sample(rng.random(60) < 0.5)
    elif case == "sign-flip":
        m, old, new = metric(), sample(rng.random(60)), sample(rng.random(60))
    else:
        m, old, new = RATIO, hits(rng.random(60)), hits(rng.random(60))
    found = compare(m, [old], [new])
    np.random.seed(6)
    assert found.test == case
    assert compare(m, [shuffled(old)], [new]) == found
    assert compare(m, [old], [shuffled(new)]) == found
    assert interval(m, [shuffled(old), new]) == interval(m, [old, shuffled(new)])


# intervals


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(7).random(400)
    found = interval(metric(), [sample(values)], resamples=4000)
    error = values.std() / math.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert (found.items, found.clusters, found.seeds) == (400, 400, 1)
    narrow = interval(metric(), [sample(values)], confidence=0.5, resamples=4000)
    assert narrow.high - narrow.low == pytest.approx(2 * 0.6745 * error, rel=0.1)


def test_the_interval_covers_the_truth() -> None:
    """400 samples of 100 items: 92 to 98 % of the 95 % intervals hold the true mean (sampling error 1 %)."""
    draws = np.random.default_rng(8).random((400, 100)) < 0.7
    found = [interval(metric(), [sample(d)], resamples=400) for d in draws]
    assert 0.92 <= np.mean([e.low <= 0.7 <= e.high for e in found]) <= 0.98


def test_equal_items_in_a_cluster_widen_the_interval() -> None:
    """Nine copies of each of 50 values: as items they would seem three times as certain as they are."""
    values = np.random.default_rng(9).random(50)
    copies = np.repeat(values, 9)
    once = interval(metric(), [sample(values)], resamples=4000)
    naive = interval(metric(), [sample(copies)], resamples=4000)
    right = interval(metric(), [sample(copies, [f"c{n // 9}" for n in range(450)])], resamples=4000)
    assert (right.items, right.clusters) == (450, 50)
    assert right.high - right.low == pytest.approx(once.high - once.low, rel=0.05)
    assert right.high - right.low == pytest.approx(3 * (naive.high - naive.low), rel=0.1)


def test_seeds_are_averaged_and_resampled() -> None:
    apart = interval(metric(), [sample([0.0] * 5), sample([1.0] * 5)])
    assert (apart.value, apart.low, apart.high, apart.seeds) == (0.5, 0.0, 1.0, 2)
    same = interval(metric(), [sample([0.0, 1.0] * 50)] * 3, resamples=4000)
    one = interval(metric(), [sample([0.0, 1.0] * 50)], resamples=4000)
    assert same.high - same.low == pytest.approx(one.high - one.low, rel=0.1)  # the seeds share their items


def test_seeds_may_have_different_items() -> None:
    found = interval(metric(), [sample([1.0, 0.0, 1.0]), sample([1.0, 0.0, 1.0, 0.0])])
    assert found.value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (found.items, found.clusters) == (4, 4)


def test_undefined_resamples_are_left_out_but_not_when_they_are_most() -> None:
    one_of_twenty = sample({"hit": np.array([1.0] + [0.0] * 19), "size": np.array([1.0] + [0.0] * 19)})
    found = interval(RATIO, [one_of_twenty])  # the only item that counts is drawn in 64 % of the resamples
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    rare = interval(metric("test_stats.twice"), [sample(np.arange(20.0))])
    assert math.isnan(rare.low)
    assert math.isnan(rare.high)
    unsure = compare(metric("test_stats.twice"), [sample(np.arange(20.0))], [sample(np.zeros(20))])
    assert unsure.p_worse == unsure.p_better == 1.0
    assert math.isnan(unsure.low)


def test_one_cluster_has_no_interval() -> None:
    found = interval(metric(), [sample([0.0, 1.0], ["c", "c"])])
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = sample(np.random.default_rng(10).random(30))
    whole = interval(metric(), [values])
    monkeypatch.setattr(resampling, "BLOCK", 100)
    parts = interval(metric(), [values])
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), rel=1e-12)  # BLAS sums otherwise


# many comparisons, and how many items


def test_holm_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_order_and_lies_between_raw_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(a <= b <= min(1.0, len(p) * a) for a, b in zip(p, adjusted, strict=True))
    assert min(adjusted) == min(1.0, len(p) * min(p))
    ranked = [adjusted[i] for i in sorted(range(len(p)), key=p.__getitem__)]
    assert ranked == sorted(ranked)


def test_items_needed_has_the_power_it_promises() -> None:
    n = items_needed(0.3, 0.02, 0.01)
    assert n == 2259  # ((2.32635 + 0.84162) * 15)^2 = 2258.1

    def power(items: int) -> float:
        return NormalDist().cdf(0.02 * math.sqrt(items) / 0.3 - NormalDist().inv_cdf(0.99))

    assert power(n) >= 0.8 > power(n - 1)
    assert items_needed(0.3, 0.02, 0.01, power=0.5) < n
    assert items_needed(0.0, 0.02, 0.01) == 0
    for tolerance in (0.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="no number of items"):
            items_needed(0.3, tolerance, 0.01)


@pytest.mark.parametrize(
    ("successes", "low", "high"),
    # Textbook values of Wilson's interval at 95 %, n = 10 (Brown, Cai & DasGupta 2001).
    [(0, 0.0, 0.2775), (1, 0.0179, 0.4042), (5, 0.2366, 0.7634), (10, 0.7225, 1.0)],
)
def test_a_share_of_independent_items_has_wilson_s_interval(successes: int, low: float, high: float) -> None:
    values = np.array([1.0] * successes + [0.0] * (10 - successes))
    items = tuple(f"i{n}" for n in range(10))
    found = interval(SHARE, [Sample(items, items, {"share": values})])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_equal_values_in_clusters_are_as_sure_as_there_are_clusters() -> None:
    items = tuple(f"i{n}" for n in range(40))
    clusters = tuple(f"c{n % 10}" for n in range(40))
    found = interval(SHARE, [Sample(items, clusters, {"share": np.ones(40)})])
    assert (found.low, found.high) == pytest.approx((0.7225, 1.0), abs=1e-4)


SHARE = Metric("share", "share", "higher", "a share", "test")
