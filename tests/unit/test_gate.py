"""The gate: every verdict and exit code, error rates in simulation, the baseline file and the outputs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchwright.canonical import digest
from benchwright.errors import RunError, UsageError
from benchwright.gate import Policy, Row, Verdict, Verdicts, exit_code, judge, outcome
from benchwright.gate_output import (
    read_baseline,
    to_github,
    to_json,
    to_junit,
    to_markdown,
    write_baseline,
)
from benchwright.metrics import Array, Columns, Metric, register_reducer
from benchwright.store import Cell, commit_cell

EXACT = Metric("rel.exact", "Reliability", "higher", "exact match", "none")
LOSS = Metric("rel.nll", "NLL", "lower", "negative log-likelihood", "none", unit="nats")
WALL = Metric("wall", "Seconds", "none", "wall time", "none", unit="seconds")
RATIO = Metric("ratio", "Ratio", "higher", "", "", columns=("top", "bottom"), reduce="test_gate.ratio")
Values = Sequence[float] | np.ndarray


@register_reducer("test_gate.ratio")
def ratio(columns: Columns, weights: Array) -> Array:
    """Sum over sum; not finite where the lower one is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((weights @ columns["top"]) / (weights @ columns["bottom"]))


def cell(
    values: Values | Mapping[str, Values] = (),
    *,
    method: str = "rome",
    seed: int = 0,
    status: str = "ok",
    metrics: Sequence[Metric] = (EXACT,),
    layers: int = 17,
    revision: str = "a",
    data: str = "d1",
    pairs: str = "p1",
    at: Mapping[str, Any] | None = None,
    cluster: int = 1,
    names: Sequence[str] = (),
    error: str = "",
) -> Cell:
    """A cell of task `atlas` on model `gpt2`; `values` of the first metric, or of each column by name."""
    columns = values if isinstance(values, Mapping) else {metrics[0].id: values}
    identity = {
        "format": 1,
        "task": {"type": "edit", "probes": ["rel"]},
        "method": {"type": "locate", "site": {"layers": [layers]}},
        "models": {"subject": {"revision": revision}},
        "data": {"task": {"atlas": data}, "method": {"pairs": pairs}},
        "versions": {"metrics": {m.id: m.version for m in metrics}},
        "seed": seed,
        "limit": None,
    }
    rest = {k: v for k, v in identity.items() if k not in ("method", "models", "seed", "data")} | {"data": data}
    meta = {
        "format": 1,
        "id": digest([identity, method]),
        "status": status,
        "task": "atlas",
        "method": method,
        "models": {"subject": "gpt2"},
        "seed": seed,
        "limit": None,
        "identity": identity,
        "comparable": digest(rest),
        "sources": {"method": {"file": f"specs/methods/{method}.yaml", "line": 3}},
        "metrics": [m.to_json() for m in metrics],
        "cost": {"wall_s": 1.5},
        "provenance": {"finished": f"2026-11-2{seed}T10:00:00Z"},
        "error": {"cause": error, "traceback": "…"} if error else None,
    }
    records, items = [], []
    for column, numbers in columns.items():
        known = names or [f"i{n:04d}" for n in range(len(numbers))]
        condition = {"at": dict(at)} if at else {}
        records += [
            {"item": i, "metric": column, "value": float(v)} | condition for i, v in zip(known, numbers, strict=True)
        ]
        items = [{"item": i, "cluster": f"c{n // cluster}"} for n, i in enumerate(known)]
    return Cell(meta, records, items)


def changed(lost: int, won: int, of: int = 300) -> tuple[list[Cell], list[Cell]]:
    """A baseline and a new run of 0/1 results in which `lost` items fell and `won` rose."""
    same = [1.0] * (of - lost - won)
    return [cell([1.0] * lost + [0.0] * won + same)], [cell([0.0] * lost + [1.0] * won + same)]


def only(baseline: Sequence[Cell], new: Sequence[Cell], policy: Policy | None = None) -> Row:
    (row,) = judge(baseline, new, policy or Policy()).rows
    return row


# verdicts


def test_equal_results_are_ok_whatever_the_tolerance() -> None:
    for tolerance in (0.0, 0.02):
        row = only(*changed(0, 0), Policy(tolerance=tolerance))
        assert (row.verdict, row.gain, row.low, row.p, row.items) == ("ok", 0.0, 0.0, 1.0, 300)


def test_a_significant_loss_regresses_only_beyond_its_tolerance() -> None:
    baseline, new = changed(lost=20, won=4)
    row = only(baseline, new)
    assert row.verdict == "regressed"
    assert (row.old, row.new) == (pytest.approx(296 / 300), pytest.approx(280 / 300))
    assert row.gain == pytest.approx(-16 / 300)
    assert row.p == 12951 / 2**24  # C(24, 20) + … + C(24, 24)
    assert "0.05333" in row.reason
    assert (row.file, row.line) == ("specs/methods/rome.yaml", 3)
    assert only(baseline, new, Policy(tolerance=0.06)).verdict == "inconclusive"
    assert only(baseline, new, Policy(tolerance=0.10)).verdict == "ok"
    assert only(baseline, new, Policy(tolerance=0.10, tolerances={"rel.exact": 0.02})).verdict == "regressed"


def test_an_inconclusive_row_says_how_many_items_would_decide() -> None:
    baseline, new = changed(lost=6, won=3)
    row = only(baseline, new, Policy(tolerance=0.01))
    assert row.verdict == "inconclusive"
    d = np.array([-1.0] * 6 + [1.0] * 3 + [0.0] * 291)
    assert row.items_needed == int(np.ceil(((2.326348 + 0.841621) * d.std(ddof=1) / 0.01) ** 2))
    assert str(row.items_needed) in row.reason
    by_effect = only(baseline, new)  # no loss is accepted: the loss seen, one point, takes the tolerance's place
    assert by_effect.items_needed == row.items_needed
    no_effect = only(*changed(3, 3))
    assert (no_effect.verdict, no_effect.items_needed) == ("inconclusive", None)


def test_items_needed_counts_items_and_not_clusters() -> None:
    old, new = [1.0] * 300, [0.0] * 6 + [1.0] * 294
    apart = only([cell(old)], [cell(new)], Policy(tolerance=0.02))
    together = only([cell(np.repeat(old, 5), cluster=5)], [cell(np.repeat(new, 5), cluster=5)], Policy(tolerance=0.02))
    assert apart.items_needed is not None
    assert together.items_needed == 5 * apart.items_needed


def test_a_gain_is_ok_in_the_direction_of_the_metric() -> None:
    up = [cell([0.1 + n / 1000 for n in range(60)], metrics=[LOSS])]
    down = [cell([n / 1000 for n in range(60)], metrics=[LOSS])]
    assert only(up, down).verdict == "ok"
    assert only(up, down).gain == pytest.approx(0.1)
    assert only(down, up).verdict == "regressed"


def test_one_cluster_is_never_a_clean_bill() -> None:
    row = only([cell([1.0] * 20, cluster=20)], [cell([0.0] * 20, cluster=20)])
    assert (row.verdict, row.low, row.items_needed) == ("inconclusive", None, None)


def test_holm_adjusts_over_all_rows() -> None:
    (alone_old,), (alone_new,) = changed(lost=9, won=1)  # p = 11 / 1024 = 0.0107
    strong_old, strong_new = ([1.0] * 300, [0.0] * 40 + [1.0] * 260)
    others = [("memit", strong_old, strong_new), ("ft", [1.0] * 300, [1.0] * 300)]
    baseline = [alone_old] + [cell(old, method=m) for m, old, _ in others]
    new = [alone_new] + [cell(n, method=m) for m, _, n in others]
    policy = Policy(alpha=0.02)
    assert only([alone_old], [alone_new], policy).verdict == "regressed"
    rows = {r.method: r for r in judge(baseline, new, policy).rows}
    assert rows["rome"].p == pytest.approx(2 * 11 / 1024)
    assert {m: r.verdict for m, r in rows.items()} == {
        "rome": "inconclusive",
        "memit": "regressed",
        "ft": "ok",
    }


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ([], "no cell of seed 0"),
        ([cell(status="oom", error="CUDA out of memory")], "seed 0 is oom: CUDA out of memory"),
        ([cell([1.0] * 4, data="d2")], "data changed (task.atlas)"),
        ([cell([1.0] * 4, metrics=[LOSS])], "versions.metrics.rel.exact 1 -> none"),
        ([cell([1.0] * 3)], "1 of 4 items are missing in the new run: i0003"),
        ([cell([1.0] * 4, names=list("abcd"))], "all 4 items are missing"),
        ([cell([1.0] * 4, at={"T": 10})], "all 4 items are missing"),
    ],
)
def test_incomparable(new: list[Cell], reason: str) -> None:
    verdicts = judge([cell([1.0, 0.0, 1.0, 1.0])], new, Policy())
    row = verdicts.rows[0]
    assert row.verdict == "incomparable"
    assert reason in row.reason
    assert row.old == 0.75
    assert row.p is None
    assert exit_code(verdicts, Policy()) == 3


def test_another_definition_of_the_metric_is_incomparable() -> None:
    """Cells whose identities do not name the metrics, so that only the metrics themselves differ."""
    for field, value, reason in (
        ("version", 2, "version 1 of the metric -> 2"),
        ("better", "lower", "computed in another way"),
        ("id", "rel.other", "does not measure it"),
    ):
        new = cell([1.0] * 3)
        new.meta = {**new.meta, "metrics": [EXACT.to_json() | {field: value}]}
        row = judge([cell([1.0] * 3)], [new], Policy()).rows[0]
        assert row.verdict == "incomparable"
        assert reason in row.reason


def test_a_failed_seed_spoils_the_row() -> None:
    baseline = [cell([1.0] * 5, seed=s) for s in (0, 1)]
    row = only(baseline, [baseline[0], cell(seed=1, status="timeout", error="60 s")])
    assert (row.verdict, row.reason) == ("incomparable", "the new cell of seed 1 is timeout: 60 s")
    assert only(baseline, baseline[:1]).reason == "the new run has no cell of seed 1"
    failed = [baseline[0], cell(seed=1, status="failed")]
    assert only(failed, baseline).reason == "the baseline's cell of seed 1 is failed: no cause was recorded"


def test_seeds_are_averaged_and_extra_ones_left_out() -> None:
    baseline = [cell([1.0] * 40, seed=0), cell([1.0] * 40, seed=1)]
    new = [cell([1.0] * 40, seed=0), cell([0.0] * 30 + [1.0] * 10, seed=1), cell([0.0] * 40, seed=2)]
    row = only(baseline, new)
    assert (row.old, row.new, row.gain) == (1.0, 0.625, -0.375)
    assert row.verdict == "regressed"
    assert "sign-flip" in row.reason


def test_a_changed_method_or_model_is_compared_and_noted() -> None:
    row = only([cell([1.0] * 5)], [cell([1.0] * 5, layers=18, revision="b", pairs="p2")])
    assert row.verdict == "ok"
    assert "method.site.layers [17] -> [18]" in row.note
    assert "models.subject.revision a -> b" in row.note
    assert "data changed (method.pairs)" in row.note


def test_new_items_are_left_out_and_noted() -> None:
    row = only([cell([1.0] * 5)], [cell([1.0] * 5 + [0.0] * 3)])
    assert (row.verdict, row.new, row.items, row.note) == ("ok", 1.0, 5, "3 new items were left out")


def test_what_only_the_new_run_has_is_listed_and_never_fails() -> None:
    verdicts = judge(
        [cell([1.0] * 5)],
        [cell([1.0] * 5), cell([0.0, 1.0], method="memit"), cell(method="ft", status="failed", error="x")],
        Policy(fail_on=frozenset({"regressed", "inconclusive", "incomparable"})),
    )
    assert {r.method: (r.verdict, r.new) for r in verdicts.rows} == {
        "rome": ("ok", 1.0),
        "memit": ("new", 0.5),
        "ft": ("new", None),
    }
    assert verdicts.rows[2].note == "failed: x"
    assert exit_code(verdicts, verdicts.policy) == 0


def test_a_skipped_baseline_cell_protects_nothing() -> None:
    baseline = [cell([1.0] * 3), cell(method="memit", status="skipped")]
    rows = judge(baseline, [cell([1.0] * 3), cell([1.0] * 3, method="memit")], Policy()).rows
    assert [r.verdict for r in rows] == ["ok", "new"]


def test_undefined_values() -> None:
    defined, not_defined = ([cell({"top": [1.0, 1.0], "bottom": b}, metrics=[RATIO])] for b in ([1.0, 1.0], [0.0, 0.0]))
    assert only(not_defined, not_defined).verdict == "ok"
    assert only(defined, not_defined).reason == "undefined in the new run"
    other = cell([1.0], method="memit")
    row = judge([*not_defined, other], [*defined, other], Policy()).rows[0]
    assert (row.verdict, row.reason, row.new) == ("new", "undefined in the baseline", 1.0)


# what is gated


def test_the_headline_is_gated_unless_metrics_are_named() -> None:
    metrics = [WALL, EXACT, LOSS]
    values = {"wall": [9.0, 9.0], "rel.exact": [1.0, 1.0], "rel.nll": [0.5, 0.5]}
    one = [cell(values, metrics=metrics)]
    assert [r.metric for r in judge(one, one, Policy()).rows] == ["rel.exact"]
    assert [r.metric for r in judge(one, one, Policy(metrics=("rel.*",))).rows] == ["rel.exact", "rel.nll"]
    assert [r.metric for r in judge(one, one, Policy(metrics=("*",))).rows] == ["rel.exact", "rel.nll"]


def test_each_condition_has_its_row() -> None:
    one = cell([1.0] * 3, at={"T": 1})
    one.records = [*one.records, *cell([0.0] * 3, at={"T": 10}).records]
    rows = judge([one], [one], Policy()).rows
    assert [(r.at, r.old) for r in rows] == [((("T", 1),), 1.0), ((("T", 10),), 0.0)]
    assert rows[1].label == "rel.exact [T=10] on gpt2"


def test_tasks_and_methods_are_chosen_by_pattern() -> None:
    cells = [cell([1.0], method=m) for m in ("rome", "r-rome", "memit")]
    assert [r.method for r in judge(cells, cells, Policy(methods=("*rome",))).rows] == ["rome", "r-rome"]
    assert len(judge(cells, cells, Policy(tasks=("at*",))).rows) == 3


@pytest.mark.parametrize("policy", [Policy(metrics=("rel.exakt",)), Policy(tasks=("x",)), Policy(metrics=("wall",))])
def test_a_gate_that_looks_at_nothing_is_a_mistake(policy: Policy) -> None:
    one = [cell({"rel.exact": [1.0], "wall": [1.0]}, metrics=[EXACT, WALL])]
    with pytest.raises(UsageError, match=r"nothing is gated.*rel\.exact"):
        judge(one, one, policy)


def test_two_cells_for_one_number_are_refused() -> None:
    with pytest.raises(UsageError, match="which one counts"):
        judge([cell([1.0])], [cell([1.0]), cell([1.0], layers=18)], Policy())


# mode equal


def test_equal_mode_fails_on_any_change() -> None:
    policy = Policy(mode="equal")
    assert only(*changed(0, 0), policy).verdict == "ok"
    better = only(*changed(lost=0, won=2), policy)
    assert (better.verdict, better.p) == ("regressed", None)
    assert better.reason == "2 of 300 items changed: i0000, i0001"
    assert better.gain == pytest.approx(2 / 300)
    tiny = only([cell([0.5, 0.25])], [cell([0.5, 0.25 + 2**-54])], policy)
    assert (tiny.verdict, tiny.reason) == ("regressed", "1 of 2 items changed: i0001")


def test_equal_mode_compares_every_column_by_item() -> None:
    old = cell({"top": [1.0, 0.0], "bottom": [0.0, 1.0]}, metrics=[RATIO])
    order = cell({"top": [0.0, 1.0], "bottom": [1.0, 0.0]}, metrics=[RATIO], names=["i0001", "i0000"])
    swapped = cell({"top": [1.0, 0.0], "bottom": [1.0, 0.0]}, metrics=[RATIO])  # the same ratio of the sums
    assert only([old], [order], Policy(mode="equal")).verdict == "ok"
    row = only([old], [swapped], Policy(mode="equal"))
    assert (row.verdict, row.gain) == ("regressed", 0.0)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    st.sampled_from(["paired", "equal"]),
    st.integers(1, 4),
)
def test_a_run_passes_against_itself(values: list[float], mode: Any, cluster: int) -> None:
    one = [cell(values, cluster=cluster, metrics=[m], method=m.id) for m in (EXACT, LOSS)]
    strict = Policy(mode=mode, fail_on=frozenset({"regressed", "inconclusive", "incomparable"}))
    assert exit_code(judge(one, one, strict), strict) == 0


# error rates, with a known truth


def failure_rate(loss: float, tolerance: float, replications: int = 4000) -> float:
    """How often the gate fails when 300 items at 70 % lose `loss` and 4 % more change at random.

    The verdict depends only on how many items fell and rose, so that each pair of counts is judged once.
    """
    rng = np.random.default_rng(11)
    base = rng.random((replications, 300)) < 0.7
    down, up, hurt = (rng.random(base.shape) < rate for rate in (0.02 / 0.7, 0.02 / 0.3, loss / 0.7))
    new = np.where(base, ~(down | hurt), up)
    counts = np.stack([(base & ~new).sum(axis=1), (~base & new).sum(axis=1)], axis=1)
    pairs, times = np.unique(counts, axis=0, return_counts=True)
    policy = Policy(alpha=0.01, tolerance=tolerance)
    failed = [exit_code(judge(*changed(int(b), int(c)), policy), policy) == 1 for b, c in pairs]
    return float(times @ np.array(failed) / replications)


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
def test_false_alarms_are_below_alpha(tolerance: float) -> None:
    assert failure_rate(0.0, tolerance) <= 0.01


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
def test_a_loss_of_five_points_is_seen(tolerance: float) -> None:
    assert failure_rate(0.05, tolerance) >= 0.60


# exit codes and outputs


def verdicts_of(*names: Verdict, policy: Policy | None = None) -> Verdicts:
    rows = [Row("atlas", "rome", (("subject", "gpt2"),), f"m{n}", verdict=v) for n, v in enumerate(names)]
    return Verdicts(tuple(rows), policy or Policy())


STRICT = Policy(fail_on=frozenset({"regressed", "inconclusive", "incomparable"}))
LENIENT = Policy(fail_on=frozenset())


@pytest.mark.parametrize(
    ("names", "policy", "code"),
    [
        (["ok", "new"], STRICT, 0),
        (["ok", "inconclusive"], Policy(), 0),
        (["ok", "inconclusive"], STRICT, 1),
        (["regressed", "ok"], Policy(), 1),
        (["incomparable", "ok"], Policy(), 3),
        (["incomparable", "inconclusive"], Policy(), 3),
        (["incomparable", "inconclusive"], STRICT, 1),
        (["incomparable", "regressed"], Policy(), 1),
        (["incomparable", "regressed", "inconclusive"], LENIENT, 0),
        (["new"], Policy(fail_on=frozenset({"new", "ok"})), 0),
    ],
)
def test_exit_codes(names: list[Verdict], policy: Policy, code: int) -> None:
    """Exit code, sentence, JUnit and JSON agree."""
    verdicts = verdicts_of(*names, policy=policy)
    assert exit_code(verdicts, policy) == code
    assert outcome(verdicts, policy)[1].startswith("gate failed" if code else "gate passed")
    suite = ElementTree.fromstring(to_junit(verdicts)).find("testsuite")
    assert suite is not None
    assert (suite.find("testcase/failure") is not None) == (code == 1)
    assert (suite.get("failures") == suite.get("errors") == "0") == (code == 0)
    assert json.loads(to_json(verdicts))["exit_code"] == code


def test_the_sentence_counts_every_verdict() -> None:
    verdicts = verdicts_of("ok", "new", "regressed", "ok", "incomparable")
    assert outcome(verdicts, Policy()) == (1, "gate failed: 2 ok, 1 regressed, 1 incomparable, 1 new")


def some_verdicts() -> Verdicts:
    """One row of every verdict, with texts that need escaping."""
    texts = {
        "cause": "exit 5 %, see a|b:\r\nline 2 \x1b[31mred <&>",
        "file": "specs/a,b:c%.yaml",
    }
    rows = (
        Row("atlas", "rome", (("subject", "gpt2"),), "rel.exact", (("T", 100),), "ok", "fine", 1.0, 1.0, 0.0),
        Row(
            "atlas",
            "memit",
            (),
            "rel.exact",
            (),
            "regressed",
            texts["cause"],
            0.9,
            0.5,
            -0.4,
            file=texts["file"],
            line=3,
        ),
        Row("atlas", "ft", (), "rel.exact", (), "inconclusive", "unsure", file="ft.yaml"),
        Row("atlas", "wise", (), "rel.exact", (), "incomparable", "missing"),
        Row("atlas", "grace", (), "rel.exact", (), "new", "not in the baseline"),
    )
    return Verdicts(rows, Policy())


def test_markdown_has_every_row_in_one_line_each() -> None:
    lines = to_markdown(some_verdicts()).splitlines()
    assert lines[0] == "**gate failed: 1 ok, 1 regressed, 1 inconclusive, 1 incomparable, 1 new**"
    assert len(lines) == 4 + 5
    assert {line.replace("\\|", "").count("|") for line in lines[2:]} == {10}
    for row, line in zip(some_verdicts().rows, lines[4:], strict=True):
        assert line.startswith(f"| {row.verdict} | {row.task} | {row.method} | {row.label} |")
    assert "| 0.9 | 0.5 | -0.4 |  | exit 5 %, see a\\|b: line 2" in lines[5]


def test_junit_has_a_case_for_every_row() -> None:
    suite = ElementTree.fromstring(to_junit(some_verdicts())).find("testsuite")
    assert suite is not None
    counts = {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "5", "failures": "1", "errors": "1", "skipped": "2"}
    cases = suite.findall("testcase")
    assert [[child.tag for child in c] for c in cases] == [
        [],
        ["failure"],
        ["skipped"],
        ["error"],
        ["skipped"],
    ]
    assert cases[0].get("name") == "rel.exact [T=100] on gpt2"
    assert (cases[1].get("classname"), cases[1].get("line")) == ("atlas.memit", "3")
    message = cases[1][0].get("message") or ""
    assert "<&>" in message
    assert "\x1b" not in message


def test_github_annotations_are_escaped() -> None:
    regressed, inconclusive, incomparable = to_github(some_verdicts()).splitlines()
    assert regressed == (
        "::error file=specs/a%2Cb%3Ac%25.yaml,line=3,title=regressed%3A rel.exact"
        "::atlas / memit / rel.exact: regressed: exit 5 %25, see a|b:%0D%0Aline 2 \x1b[31mred <&>"
    )
    assert inconclusive.startswith("::warning file=ft.yaml,line=1,title=inconclusive%3A rel.exact::atlas / ft")
    assert incomparable.startswith("::warning title=incomparable%3A rel.exact::atlas / wise")


def test_json_has_every_field_of_every_row() -> None:
    baseline, new = changed(lost=6, won=3)
    verdicts = judge(baseline, new, Policy(tolerances={"rel.exact": 0.01}))
    found = json.loads(to_json(verdicts))
    (row,) = found["rows"]
    assert row["models"] == {"subject": "gpt2"}
    assert row["at"] == {}
    assert (row["verdict"], row["items_needed"]) == ("inconclusive", verdicts.rows[0].items_needed)
    assert set(row) == set(Row.__dataclass_fields__)
    assert found["policy"]["fail_on"] == ["incomparable", "regressed"]
    assert found["policy"]["tolerances"] == {"rel.exact": 0.01}
    assert json.loads(to_json(judge([cell([1.0] * 9, cluster=9)], [cell([0.0] * 9, cluster=9)], Policy())))


# the baseline file


@pytest.mark.parametrize("name", ["ci.jsonl", "sub/ci.jsonl.gz"])
def test_baseline_round_trip(tmp_path: Path, name: str) -> None:
    cells = [cell([1.0, 0.0], seed=0), cell([0.5, 0.25], seed=1), cell([1.0], method="ft", cluster=2)]
    file, again = tmp_path / name, tmp_path / "again" / Path(name).name
    write_baseline(cells, file)
    write_baseline(cells[::-1], again)
    assert file.read_bytes() == again.read_bytes()
    assert [f.name for f in file.parent.iterdir() if f.is_file()] == [Path(name).name]

    found = read_baseline(file)
    assert [(c.method, c.seed) for c in found] == [("ft", 0), ("rome", 0), ("rome", 1)]
    assert found[1].records == cells[0].records
    assert found[1].items == cells[0].items
    assert found[1].meta == {k: v for k, v in cells[0].meta.items() if k not in ("cost", "provenance", "error")}
    assert exit_code(judge(found, cells, STRICT), STRICT) == 0

    data = file.read_bytes()
    if name.endswith("gz"):
        assert data[3:8] == bytes(5)  # neither a file name nor a time, which would change the bytes
        data = gzip.decompress(data)
    header = json.loads(data.splitlines()[0])
    assert header["created"] == "2026-11-21T10:00:00Z"
    assert (header["format"], header["kind"]) == (1, "baseline")


def test_a_run_folder_is_a_baseline_too(tmp_path: Path) -> None:
    one = cell([1.0, 0.0])
    commit_cell(tmp_path / "cells", one.meta, one.records, one.items)
    (found,) = read_baseline(tmp_path)
    assert (found.id, found.records) == (one.id, one.records)
    with pytest.raises(RunError, match="not a run folder"):
        read_baseline(tmp_path / "cells")


def test_a_baseline_of_failed_no_or_doubled_cells_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "b.jsonl"
    failed = cell(seed=3, status="failed")
    with pytest.raises(UsageError, match=rf"{failed.id} \(atlas / rome, seed 3\): failed"):
        write_baseline([cell([1.0]), failed], file)
    with pytest.raises(UsageError, match="which one counts"):
        write_baseline([cell([1.0]), cell([1.0], layers=3)], file)
    with pytest.raises(UsageError, match="no cells"):
        write_baseline([], file)
    assert not list(tmp_path.iterdir())
    file.write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_baseline([cell([1.0])], file / "below.jsonl")


def damaged(lines: list[bytes], how: str) -> bytes:
    match how:
        case "cut":
            return b"".join(lines)[:-20]
        case "no header":
            return b"".join(lines[1:])
        case "newer":
            return b"".join([lines[0].replace(b'"format":1', b'"format":2'), *lines[1:]])
        case "no records":
            return b"".join([*lines[:2], lines[2].replace(b'"records"', b'"record"')])
        case "no id":
            return b"".join([*lines[:2], lines[2].replace(b'"id"', b'"di"')])
        case "no cell":
            return b"".join([*lines[:2], b'{"records":[],"items":[]}\n'])
        case "a list":
            return b"".join([*lines[:2], b"[]\n"])
        case "not text":
            return b"".join([*lines[:2], b"\xff\xfe\n"])
        case "cut gzip":
            return gzip.compress(b"".join(lines))[:-10]
        case "bad gzip":
            return gzip.compress(b"".join(lines))[:10] + b"\xff" * 60
    return b""


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", r"b\.jsonl:3: .*damaged: not JSON"),
        ("no header", r"b\.jsonl:1: not a baseline"),
        ("empty", r"b\.jsonl:1: not a baseline"),
        ("newer", r"format 2; this version reads format 1"),
        ("no records", r"b\.jsonl:3: .*no records"),
        ("no id", r"b\.jsonl:3: .*no id"),
        ("no cell", r"b\.jsonl:3: .*no cell"),
        ("a list", r"b\.jsonl:3: .*object is expected"),
        ("not text", r"b\.jsonl:3: .*not JSON"),
        ("cut gzip", r"b\.jsonl: cannot be read"),
        ("bad gzip", r"b\.jsonl: cannot be read"),
    ],
)
def test_a_damaged_baseline_is_named(tmp_path: Path, how: str, message: str) -> None:
    file = tmp_path / "b.jsonl"
    write_baseline([cell([1.0], seed=0), cell([1.0], seed=1)], file)
    file.write_bytes(damaged(file.read_bytes().splitlines(keepends=True), how))
    with pytest.raises(RunError, match=message):
        read_baseline(file)


def test_a_missing_baseline_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="baseline update"):
        read_baseline(tmp_path / "none.jsonl")
