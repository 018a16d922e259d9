"""Reports: what they say of a run, that they are safe and whole in one file, and their figures."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from benchwright.errors import RunError
from benchwright.leaderboards import build
from benchwright.metrics import Metric
from benchwright.reports import svg, write_report
from benchwright.reports.build import collect
from benchwright.reports.exhibits import compared, exhibits
from benchwright.reports.markdown import code
from benchwright.reports.scales import Scale, fit, tick_text
from benchwright.store import read_cells

HALF = [1.0, 0.0] * 20
ONES = [1.0] * 40
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

EXHIBITS = {
    "a": {"type": "text-pair", "title": "Answers", "rows": [["greedy", "Paris", "Rome <b>!</b>"]]},
    "b": {
        "type": "curve",
        "title": "Loss",
        "x_label": "step",
        "y_label": "nats",
        "series": [{"name": "nll", "x": [0, 1, 2], "y": [3.0, 2.0, None], "low": [2, 1, 1], "high": [4, 3, 2]}],
    },
    "c": {
        "type": "matrix",
        "title": "Confusion",
        "rows": ["g", "u"],
        "columns": ["g", "u"],
        "values": [[9, 1], [2, 8]],
    },
    "d": {
        "type": "graph",
        "title": "Circuit",
        "nodes": ["embed", {"id": "m7", "layer": 7}],
        "edges": [["embed", "m7", 0.25], {"source": "m7", "target": "logits", "score": 0.5}],
    },
    "e": {"type": "image", "title": "Fundus", "png": PIXEL},
}


def written(run):
    html, markdown = write_report(run.path, build([run.path]))
    assert (html.name, markdown.name) == ("report.html", "report.md")
    return html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


def figures(html):
    """Every figure of a page, parsed: a damaged one fails here."""
    return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def test_a_report_says_what_was_run_and_how_it_ended(new_run, read_page):
    run = new_run()
    run.cell("rome", {"exact": ONES})
    run.cell("memit", {"exact": HALF})
    run.failed("grace", "ValueError: empty codebook", "timeout")
    run.describe(command=["benchwright", "run", "my suite"], suites=["knowedit"])
    html, markdown = written(run)
    texts = read_page(html).texts
    for said in (
        "knowedit",
        "benchwright run 'my suite'",
        "3 cells: 2 ok, 1 over the time limit",
        "What facts measures.",
        "grace, seed 0",
        "ValueError: empty codebook",
        "last line",
        "benchwright run grace",
        "abc1234",
    ):
        assert any(said in text for text in texts), said
    assert "2025-01-02 03:04 UTC" in html
    assert '<p class="verdict bad">' in html
    assert "**3 cells: 2 ok, 1 over the time limit**" in markdown
    assert "- grace, seed 0: timeout, ValueError: empty codebook; repeat with `benchwright run grace`" in markdown
    assert "| 1 | rome | **1.00** [0.91, 1.00] | 40 |" in markdown
    assert "| commit | abc1234 |" in markdown


def test_methods_that_do_not_apply_are_no_alarm(new_run):
    run = new_run()
    run.cell("rome", {"exact": ONES})
    run.failed("dinm", "quantised weights", "skipped")
    html, _ = written(run)
    assert "2 cells: 1 ok, 1 skipped" in html
    assert "verdict bad" not in html
    assert '<div class="failure mild">' in html


def test_a_report_needs_cells_but_no_run_json(new_run, tmp_path):
    run = new_run("nameless")
    with pytest.raises(RunError, match="no finished cell"):
        write_report(run.path, build([run.path]))
    assert not (run.path / "report.html").exists()
    run.cell("rome", {"exact": ONES})
    html, _ = written(run)
    assert "<h1>nameless</h1>" in html


def test_what_was_left_out_and_what_to_mind(new_run):
    run = new_run()
    run.cell("rome", {"exact": ONES}, skipped={"no token": 1}, warnings=["cut at 64"], facts={"labels": {"a": 3}})
    run.cell("memit", {"exact": ONES}, skipped={"no token": 3}, warnings=["cut at 64"], facts={"labels": {"a": 4}})
    run.cell("ike", {"exact": ONES})
    (section,) = collect(run.path, build([run.path])).sections
    assert section.skipped == (("no token", "1–3", "2 of 3 cells"),)
    assert section.warnings == (("cut at 64", "in 2 of 3 cells: memit, rome"),)
    assert section.facts == (("labels", "a 4; a 3"),)
    html, markdown = written(run)
    assert "1–3: no token" in html
    assert "- no token: 1–3 (in 2 of 3 cells)" in markdown
    assert "- cut at 64 (in 2 of 3 cells: memit, rome)" in markdown


def test_provenance_shows_every_value_where_cells_differ(new_run, synthetic):
    run = new_run()
    later = {**synthetic.PROVENANCE, "device": "cuda", "started": "2025-01-03", "finished": "2025-01-04"}
    run.cell("rome", {"exact": ONES})
    run.cell("memit", {"exact": ONES}, provenance=later)
    found = dict(collect(run.path, build([run.path])).provenance)
    assert found["device"] == "cuda; cpu"
    assert found["packages"] == "numpy 2.0"
    assert (found["started"], found["finished"]) == ("2025-01-02T03:04:05Z", "2025-01-04")


def test_equal_cells_give_equal_bytes(new_run):
    texts = []
    for place in ("here/run", "there/run"):
        run = new_run(place)
        for method, values in (("rome", ONES), ("memit", HALF)):
            run.cell(method, {"exact": values}, exhibits=EXHIBITS)
        texts.append(written(run))
    assert texts[0] == texts[1]
    assert texts[0] == written(run)


def test_nothing_is_loaded_and_nothing_breaks_out(new_run, read_page, synthetic):
    evil = '</script><script>alert("x")</script><img src=x onerror=y>'
    exhibit = {"type": "text-pair", "title": evil, "rows": [[evil, evil, evil]]}
    curve = {"type": "curve", "title": evil, "series": [{"name": evil, "x": [1, 2], "y": [1, 2]}]}
    run = new_run()
    both = {"a": exhibit, "b": curve}
    run.cell(evil, {"exact": HALF}, exhibits=both, warnings=[evil], facts={evil: evil})
    run.cell(
        "memit",
        records=[{"item": evil, "metric": "exact", "value": 1.0}],
        items=[{"item": evil, "tag": evil}],
    )
    run.failed("grace", evil, skipped={evil: 1})
    run.describe(command=[evil], suites=[evil])
    html, _ = written(run)
    page = read_page(html)
    assert page.scripts == 1  # the one that sorts
    assert page.loads == page.links == []
    assert evil in page.texts


def test_only_the_addresses_of_sources_are_links(new_run, read_page, synthetic):
    sourced = Metric("exact", "Exact", "higher", "Share.", "https://example.org/metric")
    unsafe = Metric("other", "Other", "higher", "Share.", "javascript:alert(1)")
    run = new_run()
    run.cell("rome", {"exact": ONES, "other": ONES}, metrics=[sourced, unsafe])
    html, _ = written(run)
    assert read_page(html).links == ["https://example.org/metric"]


def test_items_on_which_methods_differ_come_first(new_run):
    run = new_run()
    run.cell("a", {"exact": [1.0] * 260})
    run.cell("b", {"exact": [1.0] * 250 + [0.0] * 10})
    run.cell("c", {"exact": [1.0] * 255})
    (section,) = collect(run.path, build([run.path])).sections
    grid = section.items
    assert grid.heads == (("a", ""), ("c", ""), ("b", ""))
    assert (grid.total, grid.differing, len(grid.rows), grid.hidden) == (260, 10, 200, 60)
    # Where only two methods have the item, one of two differs: more than one of three.
    assert grid.rows[0] == ("i255", "", ("1", "–", "0"))
    assert grid.rows[5] == ("i250", "", ("1", "1", "0"))
    assert grid.rows[10] == ("i000", "", ("1", "1", "1"))
    html, _ = written(run)
    assert "Items: 10 of 260 differ between methods" in html
    assert "60 more items are in records.jsonl" in html


def test_items_show_seeds_attributes_and_every_column_of_the_headline(new_run, synthetic):
    kappa = Metric("kappa", "Kappa", "higher", "", "", ("label", "predicted"), reduce="kappa", options={"classes": 2})
    run = new_run()
    items = [{"item": f"i{n:03}", "relation": "P36", "tags": ["x", "y"], "cluster": "c"} for n in range(40)]
    run.cell("net", {"label": HALF, "predicted": HALF}, metrics=[kappa], seed=0, items=items)
    run.cell("net", {"label": HALF, "predicted": ONES}, metrics=[kappa], seed=1, items=items)
    grid = collect(run.path, build([run.path])).sections[0].items
    assert grid.heads == (("net", "label"), ("net", "predicted"))
    assert grid.rows[:2] == (
        ("i000", "relation P36 · tags x, y", ("1", "1")),
        ("i001", "relation P36 · tags x, y", ("0", "0 / 1")),
    )
    means = new_run("means")
    means.cell("rome", {"exact": [1.0, 0.125]}, seed=0)
    means.cell("rome", {"exact": [0.0, 0.125]}, seed=1)
    assert [row[2] for row in collect(means.path, build([means.path])).sections[0].items.rows] == [
        ("0.500",),
        ("0.125",),
    ]


def test_exhibits_of_every_type_are_shown(new_run, read_page):
    run = new_run()
    run.cell("rome", {"exact": ONES}, exhibits=EXHIBITS)
    html, _ = written(run)
    texts = read_page(html).texts
    for said in ("Rome <b>!</b>", "Loss", "Confusion", "0.25", "score 0.5", "Fundus"):
        assert said in texts, said
    assert "2 nodes: embed, m7 (layer 7). 2 edges." in texts
    assert f'<img src="data:image/png;base64,{PIXEL}" alt="Fundus">' in html
    names = [figure.get("aria-label") for figure in figures(html)]
    assert names[-2:] == ["Loss", "Confusion"]


def test_at_most_five_exhibits_of_a_cell(new_run):
    run = new_run()
    more = {f"f{n}": {"type": "text-pair", "title": f"extra {n}", "rows": []} for n in range(3)}
    cell = run.cell("rome", {"exact": ONES}, exhibits=EXHIBITS | more)
    html, _ = written(run)
    assert f"3 more in cells/{cell}/exhibits." in html
    assert "extra 0" not in html


def test_curves_of_all_methods_are_compared_in_one_picture(new_run):
    run = new_run()
    curve = {"type": "curve", "title": "Trade", "compare": True, "note": "at all strengths", "x_label": "lost"}
    for method, ys in (("rome", [0.1, 0.9]), ("memit", [0.1, 0.4]), ("ike", None)):
        own = {"c": curve | {"series": [{"name": "strength", "x": [0.0, 1.0], "y": ys}]}} if ys else {}
        run.cell(method, {"exact": ONES}, exhibits=own)
    cells = read_cells(run.path)
    (picture,) = compared(cells)
    assert (picture.title, picture.note) == ("Trade", "at all strengths")
    assert ">rome<" in picture.svg
    assert ">memit<" in picture.svg
    assert ">ike<" not in picture.svg
    # One method alone is no comparison, and a curve that does not ask for one is shown with its cell only.
    assert compared([c for c in cells if c.method != "memit"]) == []
    plain = new_run("plain")
    for method in ("rome", "memit"):
        plain.cell(method, {"exact": ONES}, exhibits={"c": {**curve, "compare": False, "series": []}})
    assert compared(read_cells(plain.path)) == []


def test_unknown_exhibits_are_noted_and_damaged_ones_refused(new_run):
    run = new_run()
    run.cell("rome", {"exact": ONES}, exhibits={"a": {"type": "hologram", "title": "H"}})
    (shown,) = exhibits(read_cells(run.path)[0]).shown
    assert shown.note == "This version shows no exhibits of type 'hologram'."
    run.cell("memit", {"exact": ONES}, exhibits={"a": {"type": "image", "title": "I", "png": '"><script>'}})
    with pytest.raises(RunError, match="exhibit 'I' is damaged"):
        write_report(run.path, build([run.path]))


def test_each_metric_has_a_figure_and_conditions_have_a_curve(new_run, synthetic):
    run = new_run()
    for method, share in (("wise", 1.0), ("rome", 0.5)):
        records = [
            {"item": f"i{n}", "metric": "exact", "value": float(n / 20 < share), "at": {"T": t}}
            for t in (1, 1000)
            for n in range(20)
        ]
        drift = {"drift": [0.1, 0.4] * 5}
        run.cell(method, drift, records=records, metrics=[synthetic.EXACT, synthetic.DRIFT])
    run.failed("grace", metrics=[synthetic.EXACT, synthetic.DRIFT])
    section = collect(run.path, build([run.path])).sections[0]
    assert [figure.title for figure in section.figures] == ["Exact match ↑ over T", "Drift ↓ (nats)"]
    curve, dots = (ET.fromstring(figure.svg) for figure in section.figures)
    lines = [line for line in curve.iter("polyline")]
    assert [len(line.get("points").split()) for line in lines] == [2, 2]
    assert len(list(dots.iter("circle"))) == 2
    assert "rome: 0.25" in "".join(dots.itertext())
    assert all(figure.main for figure in section.figures)
    assert [text.text for text in ET.fromstring(section.cost).iter("text")][-2:] == ["wise", "rome"]


def test_incomplete_methods_are_drawn_hollow(new_run):
    run = new_run()
    run.cell("rome", {"exact": HALF}, seed=0)
    run.failed("rome", seed=1)
    (figure,) = collect(run.path, build([run.path])).sections[0].figures
    (dot,) = ET.fromstring(figure.svg).iter("circle")
    assert dot.get("class") == "dot hollow"
    assert collect(run.path, build([run.path])).sections[0].cost == ""  # one point compares nothing


def test_dots_stand_where_their_values_are():
    marks = [svg.Mark("low", 0.25, 0.0, 0.5), svg.Mark("high", 0.75, 0.5, 1.0), svg.Mark("none", math.nan)]
    drawn = ET.fromstring(svg.dots("T", marks, limits=(0.0, 1.0)))
    first, second = drawn.iter("circle")
    whiskers = [line for line in drawn.iter("line") if line.get("class") == "whisker"]
    ends = [(float(w.get("x1")), float(w.get("x2"))) for w in whiskers]
    left, right = ends[0][0], ends[1][1]
    assert float(first.get("cx")) == pytest.approx(left + 0.25 * (right - left), abs=0.1)
    assert float(second.get("cx")) == pytest.approx(left + 0.75 * (right - left), abs=0.1)
    assert ends[0][1] == ends[1][0]
    assert drawn.get("aria-label") == "T"
    assert [t.text for t in drawn.iter("text") if t.get("text-anchor") == "end"] == ["low", "high", "none"]


def test_labels_of_a_scatter_plot_do_not_cover_each_other():
    marks = [svg.Mark(f"method {n}", 0.9, x=100.0 * 1.02**n) for n in range(4)]
    drawn = ET.fromstring(svg.scatter("T", [*marks, svg.Mark("free", 0.5, x=0.0)], "x", "y"))
    labels = [t for t in drawn.iter("text") if (t.text or "").startswith("method")]
    places = {(t.get("x"), t.get("y")) for t in labels}
    assert len(labels) == len(places) == 4
    assert "free" not in [t.text for t in drawn.iter("text")]  # nothing that is free has a place on a log scale


def test_labels_are_escaped_and_cut():
    drawn = svg.dots("<T>", [svg.Mark("<&>" * 20, 1.0)])
    assert "<&>" not in drawn
    assert ET.fromstring(drawn).find("text") is not None
    assert svg.short("abcdef", 4) == "abc…"


def test_matrices_are_shaded_by_size():
    drawn = ET.fromstring(svg.heat("T", ["a"], ["x", "y", "z"], [[0.0, 10.0, math.nan]]))
    shades = [float(r.get("fill-opacity")) for r in drawn.iter("rect")]
    assert shades[0] == shades[2] < shades[1]
    assert "a, y: 10" in "".join(drawn.itertext())


def test_numbers_of_a_matrix_fit_their_cells():
    def numbers(columns, value):
        drawn = ET.fromstring(svg.heat("T", ["a"], ["0"] * columns, [[value] * columns]))
        return {t.text for t in drawn.iter("text") if t.get("text-anchor") == "middle"} - {"0"}

    assert numbers(2, -0.1234567) == {"−0.123"}
    assert numbers(2, -0.000259) == {"−0.00026"}
    assert numbers(14, -0.000259) == set()
    assert numbers(2, math.nan) == {"–"}


def test_ticks_are_round_and_within_the_scale():
    assert Scale(0.0, 1.0, 0, 1).ticks() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert Scale(0.0, 1.0, 0, 1).ticks(3) == [0.0, 0.5, 1.0]
    assert [tick_text(t) for t in Scale(-0.3, 0.9, 0, 1).ticks(4)] == ["−0.25", "0", "0.25", "0.5", "0.75"]
    assert Scale(2.0, 2000.0, 0, 1, log=True).ticks() == [10.0, 100.0, 1000.0]
    assert Scale(20.0, 70.0, 0, 1, log=True).ticks() == [20.0, 40.0, 60.0]
    assert Scale(1.0, 100.0, 10, 30, log=True)(10.0) == 20.0


def test_scales_have_room_even_for_one_value():
    assert fit([5.0, math.nan], 0, 1).low < 5.0 < fit([5.0], 0, 1).high
    assert fit([0.0], 0, 1).low < 0.0
    one = fit([40.0, -1.0, 0.0], 0, 1, log=True)
    assert one.high / one.low == pytest.approx(3.0)
    whole = fit([0.0, 1.0], 0, 1, limits=(0.0, 1.0))
    assert (whole.low, whole.high) == (0.0, 1.0)


def test_code_survives_backticks():
    assert code("a b") == "`a b`"
    assert code("a `b` ``c``") == "``` a `b` ``c`` ```"
    assert code("") == ""


def test_a_run_of_which_every_cell_failed_is_still_reported(new_run):
    run = new_run()
    run.failed("rome", "no such layer")
    (section,) = collect(run.path, build([run.path])).sections
    assert (section.figures, section.cost, section.items) == ((), "", None)
    html, markdown = written(run)
    assert "1 cell: 1 failed" in html
    assert "|  | rome (**failed**) | – |  |" in markdown
