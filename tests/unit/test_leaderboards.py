"""Leaderboards: which cells share a table, what the numbers are, who ranks where, and how it is shown."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from benchwright.errors import RunError
from benchwright.leaderboards import build
from benchwright.leaderboards.differences import differences
from benchwright.leaderboards.numbers import digits, number, significant
from benchwright.leaderboards.rank import ranks
from benchwright.leaderboards.render import to_csv, to_html, to_json, to_markdown, to_rich, write_all
from benchwright.metrics import Metric
from benchwright.stats import Estimate, interval
from benchwright.store import Sample, read_cells

HALF = [1.0, 0.0] * 20
ONES = [1.0] * 40


def only(leaderboard):
    (table,) = leaderboard.tables
    return table


def row(table, method):
    (found,) = (row for row in table.rows if row.method == method)
    return found


def test_values_intervals_and_costs_are_those_of_the_cells(new_run, synthetic):
    run = new_run()
    run.cell("half", {"exact": HALF})
    table = only(build([run.path]))
    (cell,) = read_cells(run.path)
    estimate = row(table, "half").estimates[0]
    assert estimate == interval(synthetic.EXACT, [cell.samples(synthetic.EXACT)[()]])
    assert estimate.value == 0.5
    assert estimate.low < 0.5 < estimate.high
    assert row(table, "half").items == 40
    assert dataclasses.astuple(row(table, "half").cost) == (12.0, 40.0, 512.0)
    assert (table.title, table.description) == ("The facts task", "What facts measures.")


def test_rows_are_ranked_and_sorted_by_the_headline(new_run):
    run = new_run()
    run.cell("a-worst", {"exact": [0.0] * 40})
    run.cell("b-middle", {"exact": HALF})
    run.cell("c-best", {"exact": ONES})
    table = only(build([run.path]))
    assert [(r.method, r.rank) for r in table.rows] == [("c-best", 1), ("b-middle", 2), ("a-worst", 3)]
    assert table.best == (1.0,)
    assert [table.is_best(r, 0) for r in table.rows] == [True, False, False]


def test_lower_is_better_where_the_metric_says_so(new_run, synthetic):
    run = new_run()
    run.cell("drifts", {"drift": [2.0, 2.5, 3.0, 2.2] * 10}, metrics=[synthetic.DRIFT])
    run.cell("stays", {"drift": [0.1, 0.2, 0.1, 0.3] * 10}, metrics=[synthetic.DRIFT])
    table = only(build([run.path]))
    assert [(r.method, r.rank) for r in table.rows] == [("stays", 1), ("drifts", 2)]
    assert table.best[0] == pytest.approx(0.175)


@pytest.mark.parametrize(
    ("lost", "others", "expected"),
    [
        # McNemar: p = 2^-lost, times the number of directed tests: 2 for two methods, 6 for three.
        (5, 0, {"full": 1, "less": 1}),
        (6, 0, {"full": 1, "less": 2}),
        (6, 1, {"full": 1, "less": 1, "same0": 1}),
        (8, 1, {"full": 1, "less": 3, "same0": 1}),
    ],
)
def test_ranks_are_shared_until_the_corrected_test_separates_them(new_run, lost, others, expected):
    run = new_run()
    run.cell("full", {"exact": ONES})
    run.cell("less", {"exact": [0.0] * lost + [1.0] * (40 - lost)})
    for n in range(others):
        run.cell(f"same{n}", {"exact": ONES})
    table = only(build([run.path]))
    assert {r.method: r.rank for r in table.rows} == expected
    for r in table.rows:
        shared = list(expected.values()).count(r.rank) > 1
        assert table.shares_rank(r) is shared
        assert (f"| {r.rank}{'=' if shared else ''} | {r.method} |") in to_markdown(build([run.path]))


@pytest.mark.parametrize(("better", "expected"), [("higher", ["b", "a"]), ("lower", ["a", "b"])])
def test_rows_of_one_rank_are_in_the_order_of_their_values(new_run, synthetic, better, expected):
    metric = dataclasses.replace(synthetic.EXACT, better=better)
    run = new_run()
    run.cell("a", {"exact": [0.0, *ONES[1:]]}, metrics=[metric])
    run.cell("b", {"exact": ONES}, metrics=[metric])
    assert [(r.method, r.rank) for r in only(build([run.path])).rows] == [(name, 1) for name in expected]


def test_methods_without_a_common_item_share_their_rank(new_run):
    run = new_run()
    run.cell("left", {"exact": ONES})
    run.cell("right", records=[{"item": f"x{n}", "metric": "exact", "value": 0.0} for n in range(40)])
    assert {r.method: r.rank for r in only(build([run.path])).rows} == {"left": 1, "right": 1}


def test_a_diagnostic_is_never_ranked(new_run):
    plain = Metric("length", "Length", "none", "Words in the answer.", "", unit="count")
    run = new_run()
    run.cell("long", {"length": [9.0] * 8}, metrics=[plain])
    run.cell("brief", {"length": [1.0] * 8}, metrics=[plain])
    table = only(build([run.path]))
    assert (table.headline, table.best) == (None, (None,))
    assert [(r.method, r.rank) for r in table.rows] == [("brief", None), ("long", None)]


def test_cells_that_may_not_be_compared_have_tables_of_their_own(new_run):
    run = new_run()
    run.cell("rome", {"exact": ONES})
    run.cell("rome", {"exact": HALF}, settings={"limit": 40})
    run.cell("rome", {"exact": HALF}, models={"subject": "large"})
    tables = build([run.path]).tables
    assert [table.name for table in tables] == [
        "facts · large",
        "facts · tiny · limit 40",
        "facts · tiny · limit all",
    ]
    assert [len(table.rows) for table in tables] == [1, 1, 1]


def test_titles_tell_what_differs(new_run):
    run = new_run()
    old, new = ({"task": {"file": digest * 16}} for digest in ("0a", "1b"))
    run.cell("rome", {"exact": ONES}, settings={"data": old}, algorithm={"layers": [5]})
    run.cell("memit", {"exact": ONES}, settings={"data": old})
    run.cell("rome", {"exact": ONES}, settings={"data": new, "dtype": {"subject": "float16"}})
    assert [dict(table.differs) for table in build([run.path]).tables] == [
        {"dtype": "float16", "data.task.file": "1b1b1b1b"},
        {"dtype": "float32", "data.task.file": "0a0a0a0a"},
    ]


def test_titles_stay_apart_when_the_identity_tells_nothing(new_run):
    run = new_run()
    run.cell("rome", {"exact": ONES}, comparable="aaaaaaaaaaaa")
    run.cell("memit", {"exact": ONES}, comparable="bbbbbbbbbbbb")
    cells = {cell.comparable: [cell] for cell in read_cells(run.path)}
    assert differences(cells) == {"a" * 12: {"settings": "a" * 8}, "b" * 12: {"settings": "b" * 8}}


def test_two_settings_under_one_name_are_two_rows(new_run):
    run = new_run()
    run.cell("rome", {"exact": ONES}, algorithm={"layers": [5]}, seed=0)
    run.cell("rome", {"exact": HALF}, algorithm={"layers": [6]}, seed=1)
    methods = [r.method for r in only(build([run.path])).rows]
    assert len(set(methods)) == 2
    assert all(method.startswith("rome #") for method in methods)


def test_seeds_are_one_row(new_run):
    run = new_run()
    run.cell("rome", {"exact": ONES}, seed=0, cost={"wall_s": 1.0, "cpu_s": 2.0, "peak_rss_mb": 100.0})
    run.cell("rome", {"exact": HALF}, seed=1, cost={"wall_s": 3.0, "cpu_s": None, "peak_rss_mb": 300.0})
    (found,) = only(build([run.path])).rows
    assert found.estimates[0].value == 0.75
    assert (found.seeds, found.failed, found.items, len(found.cells)) == (2, 0, 40, 2)
    assert dataclasses.astuple(found.cost) == (2.0, 2.0, 200.0)
    assert "40 · 2 seeds" in to_markdown(build([run.path]))


def test_many_methods_can_still_be_ranked_by_a_bootstrap():
    """Twelve of them make 132 tests: the finest p-value must be below what the correction asks of the smallest."""
    metric = Metric(
        "f1", "F1", "higher", "d", "s", ("label", "predicted"), "class_score", {"classes": 2, "score": "f1", "of": 1}
    )
    label = np.arange(80) % 2
    samples = {}
    for n in range(12):
        wrong = np.arange(80) < (0 if n == 0 else 30 + n % 3)
        columns = {"label": label.astype(float), "predicted": np.where(wrong, 1 - label, label).astype(float)}
        items = tuple(f"i{i:02d}" for i in range(80))
        samples[f"m{n:02d}"] = [Sample(items, items, columns)]
    found = ranks(metric, samples)
    assert found["m00"] == 1
    assert min(rank for name, rank in found.items() if name != "m00") == 2


def test_costs_of_a_family_s_own_are_shown_and_written(new_run):
    run = new_run()
    run.cell("net", {"exact": ONES}, cost={"wall_s": 1.0, "cpu_s": 2.0, "parameters": 79763.0})
    run.cell("rome", {"exact": HALF}, cost={"wall_s": 1.0, "cpu_s": 2.0})
    board = build([run.path])
    text = to_markdown(board)
    assert "1 further cost" in text
    assert "| parameters | 79763 | – |" in text
    assert "parameters" in to_csv(board).splitlines()[0]
    by_method = {r["method"]: r["cost"] for r in json.loads(to_json(board))["tables"][0]["rows"]}
    assert by_method["net"]["parameters"] == 79763
    assert "parameters" not in by_method["rome"]


def test_failed_cells_are_shown_as_failed(new_run, read_page):
    run = new_run()
    run.cell("ok", {"exact": HALF})
    run.cell("ok too", {"exact": [*HALF[:-2], 0.0, 0.0]})
    run.cell("partly", {"exact": ONES}, seed=0)
    run.failed("partly", "CUDA out of memory", "oom", seed=1, cost={"wall_s": 9000.0})
    run.failed("never", "ValueError: no layer 99")
    run.failed("unfit", "quantised weights", "skipped")
    leaderboard = build([run.path])
    table = only(leaderboard)
    assert [r.method for r in table.rows] == ["ok", "ok too", "never", "partly", "unfit"]
    assert row(table, "ok").rank == 1
    partly, never = row(table, "partly"), row(table, "never")
    assert (partly.status, partly.cause, partly.failed, partly.seeds) == ("oom", "CUDA out of memory", 1, 2)
    assert partly.estimates[0].value == 1.0
    assert (partly.rank, never.rank, never.estimates, never.items) == (None, None, (None,), 0)
    assert partly.cost.wall_s == 12.0  # of the seed that ended ok
    assert table.best == (0.5,)  # the best of the rows that ended ok
    assert not table.is_best(partly, 0)
    page = read_page(to_html(leaderboard))
    assert {"oom 1 of 2 seeds", "failed", "skipped", "ValueError: no layer 99"} <= set(page.texts)
    assert to_html(leaderboard).count('<tr class="failed">') == 2
    assert "- partly oom 1 of 2 seeds: CUDA out of memory" in to_markdown(leaderboard)


REFERENCE = {
    "name": "paper-table-2",
    "task": "facts",
    "rows": [
        {
            "method": "ROME",
            "values": {"exact": 0.9931, "unknown": 1.0},
            "note": "other model",
            "source": {"title": "Table 2", "url": "https://example.org/paper"},
        },
        {"method": "FT", "values": {}, "source": {"title": "Table 3", "url": "javascript:alert(1)"}},
    ],
}


def test_published_numbers_never_look_like_measured_ones(new_run, read_page):
    run = new_run()
    run.cell("rome", {"exact": HALF})
    run.cell("zero", {"exact": [0.0] * 40})
    run.describe(references=[REFERENCE, {**REFERENCE, "task": "another"}])
    leaderboard = build([run.path])
    table = only(leaderboard)
    assert [r.method for r in table.rows] == ["rome", "zero"]
    assert [(p.method, p.values) for p in table.published] == [("ROME", (0.9931,)), ("FT", (None,))]
    assert table.best == (0.5,)
    html = to_html(leaderboard)
    measured, published = html.split('<tbody class="published">')
    assert "0.9931" in published
    assert "0.9931" not in measured
    assert published.count('<span class="badge">published</span>') == 2
    assert read_page(html).links == ["https://example.org/paper"]
    assert "|  | *ROME* (published) | *0.9931* |" in to_markdown(leaderboard)
    assert "[Table 2](https://example.org/paper) (other model)" in to_markdown(leaderboard)
    by_kind = [(r["kind"], r["method"], r["rank"]) for r in csv.DictReader(io.StringIO(to_csv(leaderboard)))]
    assert by_kind[2:] == [("published", "ROME", ""), ("published", "FT", "")]


def test_references_of_several_runs_are_merged(new_run):
    one, two = new_run("one"), new_run("two")
    for run, method in ((one, "rome"), (two, "memit")):
        run.cell(method, {"exact": HALF})
        run.describe(references=[REFERENCE])
    table = only(build([one.path, two.path]))
    assert [r.method for r in table.rows] == ["memit", "rome"]
    assert len(table.published) == 2


def test_a_run_without_run_json_is_read_and_a_damaged_one_refused(new_run):
    run = new_run()
    run.cell("rome", {"exact": HALF})
    assert only(build([run.path])).published == ()
    (run.path / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"run\.json"):
        build([run.path])
    run.describe(format=99)
    with pytest.raises(RunError, match="format 99"):
        build([run.path])


def test_an_empty_run_is_a_clear_error(new_run, tmp_path):
    with pytest.raises(RunError, match="no finished cell"):
        build([new_run().path])
    with pytest.raises(RunError, match="not a run folder"):
        build([tmp_path])


def test_conditions_are_columns_in_numeric_order_and_the_longest_ranks(new_run, synthetic):
    run = new_run()
    for method, kept in {"wise": {2: 1.0, 10: 1.0, 100: 1.0}, "rome": {2: 1.0, 10: 0.5, 100: 0.0}}.items():
        run.cell(
            method,
            records=[
                {"item": f"i{n}", "metric": "exact", "value": float(n / 40 < share), "at": {"T": t}}
                for t, share in kept.items()
                for n in range(40)
            ],
        )
    table = only(build([run.path]))
    assert [column.key for column in table.columns] == ["exact[T=2]", "exact[T=10]", "exact[T=100]"]
    assert table.headline == 2
    assert [(r.method, r.rank) for r in table.rows] == [("wise", 1), ("rome", 2)]
    assert [e.value for e in row(table, "rome").estimates] == [1.0, 0.5, 0.0]


def test_the_headline_condition_is_one_that_most_rows_have(new_run):
    run = new_run()
    for method, lengths in {"wise": (1, 100), "rome": (1,), "memit": (1,)}.items():
        records = [
            {"item": f"i{n}", "metric": "exact", "value": 1.0, "at": {"T": t}} for t in lengths for n in range(9)
        ]
        run.cell(method, records=records)
    table = only(build([run.path]))
    assert table.columns[table.headline].key == "exact[T=1]"
    assert row(table, "rome").estimates[1] is None
    assert all(r.rank == 1 for r in table.rows)


def many(count):
    return [Metric(f"m{n}", f"Metric {n}", "higher" if n else "none", f"No. {n}.", "") for n in range(count)]


def test_many_metrics_are_shown_apart_from_the_main_ones(new_run, read_page):
    from rich.console import Console

    run = new_run()
    metrics = many(12)
    specs = {"task": {"name": "facts", "metrics": ["m3", "m5"]}}
    for method, values in (("good", ONES), ("bad", HALF)):
        run.cell(method, {m.id: values for m in metrics}, metrics=metrics, specs=specs)
    run.describe(references=[{**REFERENCE, "rows": [{"method": "Old", "values": {"m3": 0.1}}]}])
    leaderboard = build([run.path])
    table = only(leaderboard)
    assert table.main == (1, 3, 5)  # m1 is the first that ranks, the task asks for the others
    markdown = to_markdown(leaderboard)
    assert "| # | method | Metric 1 ↑ | Metric 3 ↑ | Metric 5 ↑ | n |" in markdown
    assert "| metric | good | bad |" in markdown
    assert "| Metric 11 ↑ | **1.00** [0.91, 1.00] | 0.50 [" in markdown
    assert "9 more columns" in read_page(to_html(leaderboard)).texts
    assert len(json.loads(to_json(leaderboard))["tables"][0]["columns"]) == 12
    for width, columns in ((70, ["1"]), (120, ["1", "3", "5"])):
        stream = io.StringIO()
        Console(file=stream, width=width).print(to_rich(table, width))
        lines = stream.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert "…" not in stream.getvalue()
        assert [n for n in "135" if f"Metric {n}" in stream.getvalue()] == columns
        assert f"{12 - len(columns)} more columns in the files." in stream.getvalue()


def test_few_metrics_are_all_main_and_the_first_of_many(new_run):
    for count, expected in ((6, 6), (7, 6)):
        run = new_run(f"run{count}")
        run.cell("good", {m.id: ONES for m in many(count)}, metrics=many(count))
        assert only(build([run.path])).main == tuple(range(expected))


def test_values_that_are_all_the_same_have_no_best(new_run):
    run = new_run()
    run.cell("a", {"exact": ONES})
    run.cell("b", {"exact": ONES})
    assert only(build([run.path])).best == (None,)


def test_slices_are_a_table_of_their_own(new_run, synthetic):
    by_relation = Metric("exact.by", "Exact", "higher", "Share.", "", columns=("exact",), by="relation")
    run = new_run()
    items = [{"item": f"i{n:03}", "relation": "P36" if n % 2 else "P19"} for n in range(40)]
    run.cell("half", {"exact": HALF}, metrics=[synthetic.EXACT, by_relation], items=items)
    leaderboard = build([run.path])
    table = only(leaderboard)
    assert [column.key for column in table.columns] == ["exact"]
    (part,) = table.slices
    assert [column.key for column in part.columns] == ["exact.by[relation=P19]", "exact.by[relation=P36]"]
    assert [e.value for e in part.estimates["half"]] == [1.0, 0.0]
    assert "| P36 | 0.00 [0.00, 0.16] |" in to_markdown(leaderboard)
    assert "Exact, by relation" in to_html(leaderboard)
    stored = json.loads(to_json(leaderboard))["tables"][0]["slices"][0]
    assert stored["at"] == [{"relation": "P19"}, {"relation": "P36"}]


KAPPA = Metric("kappa", "Kappa", "higher", "", "", ("label", "predicted"), "kappa", {"classes": 2}, unit="score")


def test_undefined_and_missing_numbers_are_dashes_and_nulls(new_run, synthetic):
    run = new_run()
    both = [KAPPA, synthetic.EXACT]
    zeros = [0.0] * 40
    run.cell("constant", {"label": zeros, "predicted": zeros, "exact": ONES}, metrics=both)  # kappa is undefined
    run.cell("perfect", {"label": HALF, "predicted": HALF}, metrics=both)  # nothing recorded for `exact`
    leaderboard = build([run.path])
    table = only(leaderboard)
    assert [(r.method, r.rank) for r in table.rows] == [("perfect", 1), ("constant", None)]
    perfect, constant = json.loads(to_json(leaderboard))["tables"][0]["rows"]
    assert perfect["values"]["exact"] is None
    assert constant["values"]["kappa"]["value"] is None
    assert constant["values"]["kappa"]["items"] == 40
    rows = list(csv.DictReader(io.StringIO(to_csv(leaderboard))))
    assert (rows[0]["exact.value"], rows[1]["kappa.value"], rows[1]["kappa.items"]) == ("", "", "40")
    assert "| – |" in to_markdown(leaderboard)
    assert "nan" not in to_html(leaderboard).replace('"nan"', "")  # the script knows the word


def test_csv_json_and_frame_hold_the_same_exact_numbers(new_run, synthetic):
    run = new_run()
    run.cell(
        "a",
        {"exact": [1.0, 1.0, 0.0] * 9, "drift": [0.1, 0.7, 0.31] * 9},
        metrics=[synthetic.EXACT, synthetic.DRIFT],
    )
    run.cell("b", {"exact": HALF}, task="other")
    run.describe(references=[REFERENCE])
    leaderboard = build([run.path])
    expected = {
        (table.task, r.method, column.key): (e.value, e.low, e.high, e.items)
        for table in leaderboard.tables
        for r in table.rows
        for column, e in zip(table.columns, r.estimates, strict=True)
    }
    assert len(expected) == 3
    rows = [r for r in csv.DictReader(io.StringIO(to_csv(leaderboard))) if r["kind"] == "measured"]
    frame = leaderboard.frame()
    frame = frame[frame["kind"] == "measured"]
    data = json.loads(to_json(leaderboard))
    assert data["format"] == 1
    for (task, method, key), (value, low, high, items) in expected.items():
        (line,) = (r for r in rows if (r["task"], r["method"]) == (task, method))
        assert [float(line[f"{key}.{part}"]) for part in ("value", "low", "high")] == [value, low, high]
        assert int(line[f"{key}.items"]) == items
        assert frame[(frame.task == task) & (frame.method == method) & (frame.metric == key)].value.item() == value
        (table,) = (t for t in data["tables"] if t["task"] == task)
        (stored,) = (r for r in table["rows"] if r["method"] == method)
        assert [stored["values"][key][part] for part in ("value", "low", "high")] == [value, low, high]
        assert key in [metric["id"] for metric in table["metrics"]]


def test_names_cannot_break_out_of_any_format(new_run, read_page, synthetic):
    evil = '<script>alert("x")</script>|[b](javascript:c)`'
    metric = dataclasses.replace(synthetic.EXACT, title=evil, definition=evil, source=evil)
    run = new_run()
    run.cell(evil, {"exact": HALF}, metrics=[metric])
    run.failed("broken", evil, metrics=[metric])
    leaderboard = build([run.path])
    page = read_page(to_html(leaderboard))
    assert page.scripts == 1  # the one that sorts
    assert page.loads == page.links == []
    assert evil in page.texts
    (line,) = (line for line in to_markdown(leaderboard).splitlines() if line.startswith("| 1 |"))
    assert "&lt;script>" in line
    assert r"\|\[b\](javascript:c)\`" in line
    assert next(csv.DictReader(io.StringIO(to_csv(leaderboard))))["method"] == evil


def test_html_loads_nothing(new_run, read_page):
    run = new_run()
    run.cell("rome", {"exact": HALF})
    run.cell("rome", {"exact": HALF}, settings={"limit": 5})
    page = read_page(to_html(build([run.path])))
    assert page.loads == []
    assert page.links == ["#t1", "#t2"]


def test_equal_cells_give_equal_bytes_in_whatever_order_runs_are_named(new_run, tmp_path):
    one, two = new_run("one"), new_run("two")
    one.cell("rome", {"exact": HALF})
    two.cell("memit", {"exact": ONES})
    two.cell("rome", {"exact": ONES}, seed=1)
    texts = []
    for runs in ([one.path, two.path], [two.path, one.path]):
        folder = tmp_path / f"out{len(texts)}"
        folder.mkdir()
        files = write_all(build(runs), folder)
        assert sorted(f.name for f in folder.iterdir()) == sorted(f.name for f in files)
        texts.append([file.read_bytes() for file in files])
    assert texts[0] == texts[1]


def test_the_terminal_shows_brackets_intervals_and_published_rows(new_run):
    from rich.console import Console

    run = new_run()
    run.cell("rome[bold]", {"exact": HALF})
    run.failed("broken", "it [broke]")
    run.describe(references=[REFERENCE])
    stream = io.StringIO()
    Console(file=stream, width=160).print(to_rich(only(build([run.path]))))
    shown = stream.getvalue()
    assert "rome[bold]" in shown
    assert "broken (failed: it [broke])" in shown
    assert "ROME (published)" in shown
    assert "0.50 [0.3" in shown


FRACTION = Metric("m", "M", "higher", "", "")


@pytest.mark.parametrize(
    ("value", "unit", "width", "expected"),
    [
        (0.88, "fraction", 0.3, "0.88"),
        (0.88, "fraction", 0.08, "0.880"),
        (0.88, "fraction", 0.004, "0.8800"),
        (0.88, "fraction", 0.0, "0.880"),
        (45.21, "score", 3.0, "45.2"),
        (-0.31, "score", 0.2, "−0.31"),
        (-0.0001, "score", 0.2, "0.00"),
        (128.0, "count", 9.5, "128"),
        (12.5, "count", 3.0, "12.5"),
        (0.01234, "seconds", 0.1, "0.0123"),
        (1234.5, "seconds", 0.1, "1234"),
        (float("nan"), "fraction", 0.1, "–"),
    ],
)
def test_numbers_have_the_digits_that_their_interval_supports(value, unit, width, expected):
    metric = dataclasses.replace(FRACTION, unit=unit)
    estimate = Estimate(value, 0.5 - width / 2, 0.5 + width / 2, 10, 10, 1)
    assert number(value, metric, digits(metric, [estimate, None])) == expected


def test_significant_digits():
    assert [significant(v) for v in (0.0, 0.000123, 1.2345, 99.96, 5200.4)] == [
        "0",
        "0.000123",
        "1.23",
        "100.0",
        "5200",
    ]


def test_importing_leaderboards_is_light():
    heavy = ("pandas", "jinja2", "rich", "torch")
    code = f"import sys, benchwright.leaderboards.render; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
