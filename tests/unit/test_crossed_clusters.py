"""Items of several clusters at once: against closed forms, one factor, and simulations with a known truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchwright.canonical import digest
from benchwright.errors import RunError
from benchwright.gate import Policy, judge
from benchwright.gate_output import read_baseline, write_baseline
from benchwright.leaderboards.build import build
from benchwright.metrics import Array, Columns, Metric, register_reducer
from benchwright.parts import Joined, check
from benchwright.reports.items import item_grid
from benchwright.stats import compare, compare_each, interval, intervals, resampling
from benchwright.stats.resampling import draws, numbered
from benchwright.store import Cell, Cluster, Sample, clusters_of, read_cells

from .synthetic_runs import EXACT, SyntheticRun

MEAN = Metric("m", "M", "higher", "a test", "none")
ROOT = Metric("root", "R", "higher", "a test", "none", columns=("m",), reduce="test_crossed.root")


@register_reducer("test_crossed.root")
def root(columns: Columns, weights: Array) -> Array:
    """Root of the mean square; 0 where nothing was drawn, which a resample must therefore never be."""
    (values,) = columns.values()
    return np.sqrt(weights @ values**2 / np.maximum(weights.sum(axis=1), 1))


def sample(values: Sequence[float] | Array, clusters: Sequence[Cluster]) -> Sample:
    values = np.asarray(values, dtype=float).ravel()
    return Sample(tuple(f"i{n:04d}" for n in range(len(values))), tuple(clusters), {"m": values})


def crossing(rows: int, columns: int) -> list[Cluster]:
    """The clusters of a table, row by row."""
    return [(f"q{i:02d}", f"a{j:02d}") for i in range(rows) for j in range(columns)]


def table(values: Array) -> Sample:
    return sample(values, crossing(*values.shape))


# the draws


def test_a_weight_is_the_product_of_what_was_drawn_of_each_factor() -> None:
    names, (units,) = numbered(crossing(3, 4))
    assert names == [["q00", "q01", "q02"], ["a00", "a01", "a02", "a03"]]
    (weights,) = next(draws([units], [3, 4], 500, np.random.default_rng(0)))
    tables = weights.reshape(500, 3, 4)
    assert (tables.sum(axis=(1, 2)) == 12).all()  # 3 draws of rows × 4 of columns
    rows, columns = tables.sum(axis=2) / 4, tables.sum(axis=1) / 3
    np.testing.assert_array_equal(tables, rows[:, :, None] * columns[:, None, :])
    # Counts of a multinomial: variance 1 − 1/n; and the factors are drawn independently.
    assert rows.var(axis=0) == pytest.approx(1 - 1 / 3, rel=0.15)
    assert columns.var(axis=0) == pytest.approx(1 - 1 / 4, rel=0.15)
    assert np.abs(np.corrcoef(rows[:, 0], columns.T)[0, 1:]).max() < 0.15


def test_variance_of_a_mean_over_a_full_table_is_its_closed_form() -> None:
    """σ²(rows)/R + σ²(columns)/C + σ²(rest)/(RC), where x = mean + row + column + rest, each of mean zero."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(6, 1)) + 0.7 * rng.normal(size=(1, 9)) + rng.normal(size=(6, 9))
    row = values.mean(axis=1, keepdims=True) - values.mean()
    column = values.mean(axis=0, keepdims=True) - values.mean()
    rest = values - values.mean() - row - column
    error = math.sqrt((row**2).mean() / 6 + (column**2).mean() / 9 + (rest**2).mean() / 54)

    found = compare(MEAN, [table(np.zeros((6, 9)))], [table(values)])
    assert found.test == "bootstrap"
    assert found.gain == pytest.approx(values.mean())
    assert found.clusters == 6
    assert found.spread / math.sqrt(6) == pytest.approx(error, rel=0.025)  # of 10,000 resamples: 0.7 %


@pytest.mark.parametrize("block", [1, 100, 10**6])
def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    values = table(np.random.default_rng(2).random((5, 7)))
    whole = interval(MEAN, [values, values])
    monkeypatch.setattr(resampling, "BLOCK", block)
    parts = interval(MEAN, [values, values])
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), rel=1e-12)


# one factor is what it was


@pytest.mark.parametrize("metric", [MEAN, ROOT], ids=["mean", "bootstrap"])
def test_a_list_of_one_is_a_single_cluster(metric: Metric) -> None:
    rng = np.random.default_rng(3)
    old, new = rng.random(40), rng.random(40)
    names = [f"c{n // 4}" for n in range(40)]
    alone, listed = ([sample(v, c) for v in (old, new)] for c in (names, [(c,) for c in names]))
    assert interval(metric, [listed[0]]) == interval(metric, [alone[0]])
    assert compare(metric, listed[:1], listed[1:]) == compare(metric, alone[:1], alone[1:])
    assert clusters_of([{"item": "x", "cluster": ["c"]}, {"item": "y", "cluster": "d"}]) == {"x": "c", "y": "d"}


def test_one_factor_is_drawn_as_ever() -> None:
    """From the same streams as before clusters could be crossed: what old tables and baselines say stays true."""
    values = np.arange(12.0) ** 2
    names = [f"c{n // 3}" for n in range(12)]
    drawn = np.random.default_rng(int(digest(sorted(set(names))), 16)).integers(4, size=(1000, 4))
    means = values.reshape(4, 3).mean(axis=1)[drawn].mean(axis=1)
    found = interval(MEAN, [sample(values, names)])
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), rel=1e-12)

    drawn = np.random.default_rng(int(digest("root"), 16)).integers(4, size=(10_000, 4))
    old, new = ((v.reshape(4, 3) ** 2).mean(axis=1)[drawn].mean(axis=1) ** 0.5 for v in (values, values[::-1]))
    turned = compare(ROOT, [sample(values, names)], [sample(values[::-1], names)])
    assert turned.low == pytest.approx(np.quantile(new - old, 0.01), rel=1e-12)
    assert turned.spread == pytest.approx(2 * (new - old).std(ddof=1), rel=1e-12)


def test_items_that_share_no_level_are_independent() -> None:
    """A diagonal: Wilson's interval, as for items without clusters, counts every item."""
    values = [1.0] * 5 + [0.0] * 5
    found = interval(MEAN, [sample(values, [(f"q{n}", f"a{n}") for n in range(10)])])
    plain = interval(MEAN, [sample(values, [f"i{n}" for n in range(10)])])
    assert found == plain


# intervals


def test_an_effect_of_either_factor_widens_the_interval() -> None:
    """Against resampling that respects one factor alone, which is blind to the effect of the other."""
    rng = np.random.default_rng(4)
    for effect in (rng.normal(size=(20, 1)), rng.normal(size=(1, 20))):
        values = effect + 0.1 * rng.normal(size=(20, 20))
        both = interval(MEAN, [table(values)], resamples=2000)
        ways = [interval(MEAN, [sample(values, [c[k] for c in crossing(20, 20)])], resamples=2000) for k in (0, 1)]
        narrow, wide = sorted(e.high - e.low for e in ways)
        assert both.high - both.low > 3 * narrow
        assert both.high - both.low == pytest.approx(wide, rel=0.15)
        assert both.high - both.low == pytest.approx(2 * 1.96 * effect.std() / math.sqrt(20), rel=0.15)


def test_the_interval_covers_the_truth_where_one_factor_alone_does_not() -> None:
    """200 tables of 25 × 25 with effects of both factors and noise: sampling error of a coverage of 95 % is 1.5 %."""
    rng = np.random.default_rng(5)
    clusters = crossing(25, 25)
    held, held_by_one = [], []
    for _ in range(200):
        values = rng.normal(size=(25, 1)) + rng.normal(size=(1, 25)) + rng.normal(size=(25, 25))
        for found, own in ((held, clusters), (held_by_one, [c[0] for c in clusters])):
            estimate = interval(MEAN, [sample(values, own)], resamples=400)
            found.append(estimate.low <= 0 <= estimate.high)
    assert 0.88 <= np.mean(held) <= 0.99
    assert np.mean(held_by_one) < 0.85  # the half of the variance that it sees gives 83 %


def test_the_factor_with_the_fewest_levels_says_how_many_clusters_there_are() -> None:
    assert interval(MEAN, [table(np.random.default_rng(6).random((4, 30)))]).clusters == 4
    alike = interval(MEAN, [table(np.ones((10, 30)))])
    assert (alike.low, alike.high) == pytest.approx((0.7225, 1.0), abs=1e-4)  # Wilson's of 10 in 10
    one_attack = interval(MEAN, [table(np.random.default_rng(6).random((30, 1)))])
    assert one_attack.clusters == 1
    assert math.isnan(one_attack.low)


def test_resamples_without_an_item_are_left_out() -> None:
    """Of two items that share no level, one resample in eight draws none; those of the rest lie within the values."""
    apart = sample([3.0, 5.0], [("q0", "a0"), ("q1", "a1")])
    _, (units,) = numbered(apart.clusters)
    weights = np.concatenate([w for (w,) in draws([units], [2, 2], 4000, np.random.default_rng(7))])
    assert len(weights) == pytest.approx(3500, abs=100)
    assert weights.any(axis=1).all()
    found = interval(ROOT, [apart], confidence=0.999, resamples=2000)
    assert (found.low, found.high) == (3.0, 5.0)


def test_seeds_and_metrics_share_their_draws() -> None:
    rng = np.random.default_rng(8)
    seeds = [table(rng.random((6, 8))) for _ in range(3)]
    seeds[2] = seeds[2].take(rng.permutation(48)[:40])  # in another order, with fewer items
    together = intervals([(MEAN, seeds), (ROOT, seeds)], resamples=300)
    assert together == [interval(m, seeds, resamples=300) for m in (MEAN, ROOT)]
    assert together[0].items == 48
    assert together[0].seeds == 3


# comparisons


def test_means_of_crossed_clusters_are_tested_by_the_bootstrap() -> None:
    """One of four attacks is answered better, whatever the question: with questions as units that would be sure."""
    old = np.zeros((30, 4))
    new = np.tile([1.0, 0.0, 0.0, 0.0], (30, 1))
    found = compare(MEAN, [table(old)], [table(new)])
    by_question = compare(MEAN, [table(old)], [sample(new, [c[0] for c in crossing(30, 4)])])
    assert by_question.p_better < 0.001
    assert (found.test, found.clusters, found.p_better) == ("bootstrap", 4, 0.5)  # one attack changed


def test_the_floor_counts_the_changed_levels_of_the_factor_that_has_fewest() -> None:
    old, new = np.ones((20, 20)), np.ones((20, 20))
    new[:8, :3] = 0.0
    found = compare(MEAN, [table(old)], [table(new)])
    assert found.p_worse == 0.5**3  # only 4 % of the resamples draw none of the three columns
    assert compare(MEAN, [table(old.T)], [table(new.T)]).p_worse == 0.5**3
    new[:8, :8] = 0.0
    many = compare(MEAN, [table(old)], [table(new)])
    assert many.p_worse == 0.5**8  # no resample in 10,000 leaves all of the eight out


@pytest.mark.parametrize(("effect", "least", "most"), [(0.0, 0.01, 0.09), (-1.2, 0.85, 1.0)])
def test_the_test_keeps_its_level_and_sees_a_loss(effect: float, least: float, most: float) -> None:
    """150 replications at level 0.05, both factors with effects: a standard error of 0.37, so 94 % power for 1.2."""
    rng = np.random.default_rng(9)
    alarms = []
    for _ in range(150):
        gains = effect + rng.normal(size=(15, 1)) + rng.normal(size=(1, 15)) + rng.normal(size=(15, 15))
        found = compare(MEAN, [table(np.zeros((15, 15)))], [table(gains)], resamples=500)
        alarms.append(found.p_worse < 0.05)
    assert least <= np.mean(alarms) <= most


def test_items_taken_for_independent_would_cry_wolf() -> None:
    """The same tables without a loss, tested by flipping the signs of single items: far above the level."""
    rng = np.random.default_rng(9)
    alarms = []
    for _ in range(60):
        gains = rng.normal(size=(15, 1)) + rng.normal(size=(1, 15)) + rng.normal(size=(15, 15))
        items = [f"i{n}" for n in range(225)]
        alarms.append(compare(MEAN, [sample(np.zeros(225), items)], [sample(gains, items)]).p_worse < 0.05)
    assert np.mean(alarms) > 0.2


@pytest.mark.parametrize("metric", [MEAN, ROOT], ids=["mean", "root"])
def test_comparing_each_with_each_gives_the_numbers_of_each_pair(metric: Metric) -> None:
    rng = np.random.default_rng(10)
    rivals = {name: [table(p + rng.random((5, 6))) for _ in range(n)] for name, p, n in (("a", 0, 1), ("b", 0.1, 2))}
    rivals["c"] = [rivals["a"][0].take(rng.permutation(30))]
    for samples in (rivals, {**rivals, "few": [rivals["a"][0].take(range(20))]}):
        found = {(one, other): result for one, other, result in compare_each(metric, samples, resamples=400)}
        assert len(found) == len(samples) * (len(samples) - 1) / 2
        for (one, other), result in found.items():
            assert result == compare(metric, samples[one], samples[other], resamples=400)
    assert found["a", "c"].p_worse == 1.0


def test_without_a_change_nothing_is_worse() -> None:
    same = table(np.random.default_rng(11).random((4, 4)))
    found = compare(MEAN, [same], [same])
    assert (found.gain, found.low, found.p_worse, found.p_better, found.spread) == (0, 0, 1, 1, 0)


# cells, parts, the gate, and what is shown


def crossed_items(rows: int, columns: int) -> list[dict[str, Any]]:
    return [{"item": f"i{n:03}", "cluster": list(c)} for n, c in enumerate(crossing(rows, columns))]


def test_cells_are_gated_against_a_baseline_and_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    values = (rng.random((12, 10)) < 0.6).astype(float).ravel()
    worse = values * (rng.random(120) < 0.85)
    for run, lost in (("old", values), ("new", worse)):
        SyntheticRun(tmp_path / run).cell("rome", {"exact": lost.tolist()}, items=crossed_items(12, 10))
    SyntheticRun(tmp_path / "new").cell("ft", {"exact": values.tolist()}, items=crossed_items(12, 10))
    old, new = (read_cells(tmp_path / run) for run in ("old", "new"))
    (kept,) = old[0].samples(EXACT).values()
    assert kept.clusters[11] == ("q01", "a01")

    write_baseline(old, tmp_path / "b.jsonl")
    (again,) = read_baseline(tmp_path / "b.jsonl")
    assert again.items == old[0].items
    assert again.items[0]["cluster"] == ["q00", "a00"]
    assert judge([again], old, Policy()).rows[0].verdict == "ok"
    row = next(r for r in judge([again], new, Policy(tolerance=0.01, alpha=1e-9)).rows if r.method == "rome")
    result = compare(EXACT, [kept], list(new[1].samples(EXACT).values()), alpha=1e-9)
    assert result.test == "bootstrap"
    assert (row.verdict, row.items, row.p, row.gain) == ("inconclusive", 120, result.p_worse, result.gain)
    assert row.items_needed is not None
    assert row.items_needed % 12 == 0  # whole units of 120 / 10 items
    assert judge([again], new, Policy()).rows[0].verdict == "regressed"

    (board,) = build([tmp_path / "new"]).tables
    ranked = {r.method: r for r in board.rows}
    assert {r.estimates[0].clusters for r in board.rows if r.estimates[0]} == {10}
    assert (ranked["ft"].rank, ranked["rome"].rank) == (1, 2)
    grid = item_grid(board, {c.id: c for c in new})
    assert grid is not None
    assert {attributes for _, attributes, _ in grid.rows} == {""}


def cell(*clusters: object) -> Cell:
    """A cell of one metric; an item for each cluster, None for an item that names none."""
    items = [{"item": f"i{n}"} | ({} if c is None else {"cluster": c}) for n, c in enumerate(clusters)]
    records = [{"item": row["item"], "metric": "m", "value": 1.0} for row in items]
    return Cell({"id": "abc"}, records, items)


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        ((["q", "a"], ["q", "a", "t"]), "'i0' 2, 'i1' 3"),
        ((["q", "a"], "q"), "'i1' 1, 'i0' 2"),
        ((["q", "a"], None), "equally many clusters, one for each factor; these have: 'i1' 1, 'i0' 2"),
        (([],), r"item 'i0': cluster: expected a text, or a list of texts, got \[\]"),
        ((["q", 3],), r"item 'i0': cluster: .* got \['q', 3\]"),
        ((["q", ["a"]],), "item 'i0': cluster"),
    ],
)
def test_clusters_that_make_no_table_are_refused(clusters: tuple[object, ...], message: str) -> None:
    broken = cell(*clusters)
    with pytest.raises(RunError, match=f"abc: .*{message}"):
        broken.samples(MEAN)
    with pytest.raises(ValueError, match=message):
        check(Joined(list(map(dict, broken.records)), list(map(dict, broken.items))), {"m"})


def test_items_without_records_need_no_clusters() -> None:
    rows = [{"item": "i0", "cluster": ["q", "a"]}, {"item": "i1", "skipped": "too long"}]
    records = [{"item": "i0", "metric": "m", "value": 1.0}]
    check(Joined(records, rows), {"m"})
    (found,) = Cell({"id": "abc"}, records, rows).samples(MEAN).values()
    assert found.clusters == (("q", "a"),)


def test_samples_that_are_crossed_otherwise_are_refused() -> None:
    two, three = table(np.eye(2)), sample(np.eye(2), [(*c, "t") for c in crossing(2, 2)])
    with pytest.raises(ValueError, match="some items have 2 clusters, others 3"):
        interval(MEAN, [two, three])
    fewer = two.take([0, 1])
    with pytest.raises(ValueError, match="some items have 2 clusters, others 3"):
        compare(MEAN, [two], [fewer, three])
