"""Graphs in layers, labels of wide matrices, bands of curves, and pages of exhibits."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from benchwright.alone import write_page
from benchwright.errors import RunError, UsageError
from benchwright.reports import graph, svg
from benchwright.reports.exhibits import exhibits, show
from benchwright.reports.page import page
from benchwright.store import read_cells

EVIL = '</title><script>alert("x")</script><img src=x onerror=y>'


def node(name: str, **more: Any) -> dict[str, Any]:
    """A node of a model with three blocks."""
    if name in ("input", "logits"):
        return {"id": name, "layer": -1 if name == "input" else 3, "kind": name, **more}
    return {"id": name, "layer": int(name[1]), "kind": "head" if name[0] == "a" else "mlp", **more}


def edge(ends: str, weight: float = -1.0, kind: str = "") -> dict[str, Any]:
    source, target = ends.split(">")
    return {"source": source, "target": target, "weight": weight, **({"kind": kind} if kind else {})}


def drawn(*edges: Mapping[str, Any], **notes: str) -> ET.Element:
    names = sorted({end for e in edges for end in (e["source"], e["target"])})
    text, _ = graph.layered("T", [node(n, **({"note": notes[n]} if n in notes else {})) for n in names], edges)
    return ET.fromstring(text)


def boxes(picture: ET.Element) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right, bottom of the nodes' boxes, by name."""
    found = {}
    for group in picture.iter("g"):
        rect = group.find("rect")
        x, y, width, height = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        found[re.split("[:;]", group.find("title").text)[0]] = (x, y, x + width, y + height)
    return found


def lines(picture: ET.Element) -> dict[str, ET.Element]:
    return {line.find("title").text: line for line in picture.iter("path")}


def ends_of(line: ET.Element) -> tuple[tuple[float, float], tuple[float, float]]:
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", line.get("d"))]
    return (numbers[0], numbers[1]), (numbers[-2], numbers[-1])


def along(line: ET.Element, steps: int = 60) -> list[tuple[float, float]]:
    """Points of a cubic curve."""
    n = [float(v) for v in re.findall(r"-?[\d.]+", line.get("d"))]
    found = []
    for k in range(1, steps):
        t = k / steps
        parts = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        x, y = (sum(p * v for p, v in zip(parts, values, strict=True)) for values in (n[::2], n[1::2]))
        found.append((x, y))
    return found


def test_layers_rise_from_input_to_logits_and_mlps_stand_above_the_heads_they_read() -> None:
    picture = drawn(edge("input>a0.h0"), edge("a0.h0>m0"), edge("m0>a1.h1"), edge("a1.h1>logits"))
    tops = {name: box[1] for name, box in boxes(picture).items()}
    assert sorted(tops, key=lambda n: -tops[n]) == ["input", "a0.h0", "m0", "a1.h1", "logits"]
    assert boxes(picture)["m0"][0] > boxes(picture)["a0.h0"][2]
    labels = [text.text for text in picture.iter("text")]
    assert [text for text in labels if text.startswith("block")] == ["block 1", "block 0"]


def test_an_edge_leaves_the_top_of_a_box_and_enters_the_bottom_of_another_by_its_letter() -> None:
    picture = drawn(*(edge("a0.h0>a1.h0", -1.0, letter) for letter in "qkv"), edge("a1.h0>logits"))
    left, top, right, _ = boxes(picture)["a0.h0"]
    bottom = boxes(picture)["a1.h0"][3]
    found = {name[-6]: ends_of(line) for name, line in lines(picture).items() if "a1.h0 (" in name}
    assert set(found) == set("qkv")
    for start, end in found.values():
        assert start == pytest.approx(((left + right) / 2, top), abs=0.11)
        assert end[1] == pytest.approx(bottom, abs=0.11)
    assert found["q"][1][0] < found["k"][1][0] < found["v"][1][0]


def test_heads_of_one_number_stand_above_each_other_whatever_the_edges() -> None:
    found = boxes(drawn(*(edge(f"a0.h{i}>a1.h{(i + 6) % 12}") for i in (1, 2, 10))))
    middles = {name: (box[0] + box[2]) / 2 for name, box in found.items()}
    assert sorted(middles, key=lambda n: (n[:2], middles[n])) == ["a0.h1", "a0.h2", "a0.h10", "a1.h4", "a1.h7", "a1.h8"]
    both = boxes(drawn(edge("a0.h3>a1.h1"), edge("a0.h1>a1.h3")))
    assert [both["a0.h1"][0], both["a0.h3"][0]] == [both["a1.h1"][0], both["a1.h3"][0]]
    nodes = [{"id": name, "layer": 0, "kind": "head"} for name in ("a1", "b1", "c")]
    left, middle, right = boxes(ET.fromstring(graph.layered("T", nodes, [])[0])).values()
    assert left[2] < middle[0] < middle[2] < right[0]


def test_width_and_opacity_follow_the_size_and_colour_the_sign() -> None:
    picture = drawn(edge("input>m0", -4.0), edge("input>m1", 2.0), edge("input>m2", -1.0))
    found = {name.split()[2]: line for name, line in lines(picture).items()}
    widths = {name: float(line.get("stroke-width")) for name, line in found.items()}
    assert widths == {"m0:": 5.0, "m1:": 3.0, "m2:": 2.0}
    assert float(found["m0:"].get("stroke-opacity")) > float(found["m1:"].get("stroke-opacity"))
    assert [found[n].get("class") for n in ("m0:", "m1:", "m2:")] == ["edge s0", "edge s1", "edge s0"]
    assert "input → m0: −4" in lines(picture)
    legend = [text.text for text in picture.iter("text")][-3:]
    assert legend == ["negative weight", "positive weight", "widest: 4"]


def test_what_is_said_of_edges_and_nodes_is_shown() -> None:
    kinds = (edge("input>m0", -1, "found"), edge("input>m1", -1, "missed"), edge("m1>logits", -1, "false"))
    picture = drawn(*kinds, m1="mover head")
    classes = {name.split("(")[1].split(")")[0]: line.get("class") for name, line in lines(picture).items()}
    assert classes == {"found": "edge s2", "missed": "edge s4 dashed", "false": "edge s1"}
    texts = [text.text for text in picture.iter("text")]
    assert texts[-4:] == ["found", "missed", "false", "widest: 1"]
    assert "mover head" in texts
    assert any(t.text == "m1: mover head; 1 edges in, 1 out" for t in picture.iter("title"))


def test_a_line_goes_round_a_box_that_is_in_its_way() -> None:
    picture = drawn(edge("m0>m1"), edge("m1>m2"), edge("m0>m2"), edge("m2>logits"))
    left, top, right, bottom = boxes(picture)["m1"]
    long = lines(picture)["m0 → m2: −1"]
    assert not any(left <= x <= right and top <= y <= bottom for x, y in along(long))


def test_boxes_of_many_nodes_do_not_cover_each_other_and_nothing_leaves_the_picture() -> None:
    heads = [f"a{layer}.h{h}" for layer in range(3) for h in range(16)]
    edges = [edge(f"{a}>{b}", -(1 + i % 7)) for i, (a, b) in enumerate(combinations(heads, 2)) if a[1] != b[1]][::6]
    picture = drawn(*edges, edge("input>a0.h0"), edge("a2.h3>logits"))
    found = list(boxes(picture).values())
    assert len(found) > 40
    for a, b in combinations(found, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    width, height = (float(n) for n in picture.get("viewBox").split()[2:])
    points = [point for line in picture.iter("path") for point in along(line, 20)]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


def test_only_the_strongest_edges_of_a_large_graph_are_drawn_and_that_is_said() -> None:
    names = [f"a0.h{i}" for i in range(260)]
    edges = [edge(f"input>{name}", -(i + 1.0)) for i, name in enumerate(names)]
    text, note = graph.layered("T", [node("input"), *map(node, names)], edges)
    assert note == "261 nodes, 260 edges. The 200 strongest edges are drawn, with the 201 nodes at their ends."
    picture = ET.fromstring(text)
    assert len(lines(picture)) == 200
    assert "input → a0.h59: −60" not in lines(picture)
    assert "input → a0.h60: −61" in lines(picture)


def test_graphs_without_layers_stay_tables_and_damaged_ones_are_refused(new_run: Callable[..., Any]) -> None:
    bare = {"type": "graph", "title": "G", "nodes": ["a", node("m0")], "edges": [["a", "m0", 0.5]]}
    assert show(bare).rows == (("a", "m0", "0.5"),)
    assert show({"type": "graph", "nodes": [], "edges": []}).note == "The graph is empty."
    layered = {"type": "graph", "title": "G", "nodes": [node("m0")]}
    assert show({**layered, "edges": []}).svg
    run = new_run()
    run.cell("rome", {"exact": [1.0]}, exhibits={"a": {**layered, "edges": [edge("m0>m1")]}})
    with pytest.raises(RunError, match="exhibit 'G' is damaged"):
        exhibits(read_cells(run.path)[0])
    with pytest.raises(ValueError, match="m0 to m0 is not finite"):
        show({**layered, "edges": [edge("m0>m0", float("nan"))]})


def test_everything_is_escaped_and_the_same_graph_gives_the_same_bytes() -> None:
    nodes = [node("input"), {"id": EVIL, "layer": 0, "kind": EVIL, "label": EVIL, "note": EVIL}]
    edges = [{"source": "input", "target": EVIL, "weight": 1.0, "kind": EVIL}]
    text, _ = graph.layered(EVIL, nodes, edges)
    assert "<script" not in text
    assert "<img" not in text
    assert ET.fromstring(text).get("aria-label") == EVIL
    assert graph.layered(EVIL, nodes, edges)[0] == text


def test_labels_of_wide_matrices_are_level_and_fewer_or_at_a_slant() -> None:
    def heads(columns: list[str]) -> list[ET.Element]:
        picture = ET.fromstring(svg.heat("T", ["row"], columns, [[float(i) for i in range(len(columns))]]))
        return [text for text in picture.iter("text") if text.text in columns]

    blocks = heads([str(i) for i in range(48)])
    assert [text.text for text in blocks] == [str(i) for i in range(0, 48, 2)]
    places = [float(text.get("x")) for text in blocks]
    assert min(b - a for a, b in pairwise(places)) >= 2 * svg.TEXT
    few = heads(["g", "u", "r"])
    assert [text.get("transform") for text in few] == [None] * 3
    long = heads(["last subject token", "first after", "end"])
    assert all(text.get("transform").startswith("rotate(-45 ") for text in long)
    assert len(heads([f"a{i // 4}.h{i % 4}" for i in range(24)])) == 24


def test_bands_of_curves_end_where_their_bounds_are_unknown() -> None:
    nan = float("nan")
    line = svg.Series("n", [0, 1, 2], [0.0, 0.5, nan], [0.0, 0.25, nan], [0.0, 0.75, nan])
    picture = ET.fromstring(svg.curves("T", [line], "x", "y"))
    (band,) = picture.iter("polygon")
    assert len(band.get("points").split()) == 4
    alone = ET.fromstring(svg.curves("T", [line, svg.Series("one", [1], [0.5])], "x", "y"))
    (dot,) = alone.iter("circle")
    assert dot.get("class") == "point s1"
    assert f"{dot.get('cx')},{dot.get('cy')}" in alone.find("polyline").get("points").split()


def test_a_page_is_whole_in_one_file(tmp_path: Path, read_page: Callable[[str], Any]) -> None:
    shown = [
        {"type": "graph", "title": "Circuit", "nodes": [node("m0"), node("m1")], "edges": [edge("m0>m1")]},
        {"type": "matrix", "title": EVIL, "rows": ["r"], "columns": ["c"], "values": [[1.0]]},
    ]
    shown.append({"type": "table", "title": "S", "heads": ["a", EVIL], "rows": [[EVIL, 1]], "note": EVIL})
    html = page("Title", f"Warning: {EVIL}\n{EVIL}", shown)
    found = read_page(html)
    assert (found.scripts, found.loads, found.links) == (0, [], [])
    assert found.texts.count(EVIL) >= 4
    assert '<p class="verdict bad">Warning: ' in html
    assert "2 nodes, 1 edges." in found.texts
    assert len(re.findall("<svg", html)) == 2
    write_page(tmp_path / "x.html", "Title", f"Warning: {EVIL}\n{EVIL}", shown)
    assert (tmp_path / "x.html").read_text(encoding="utf-8") == html
    with pytest.raises(UsageError, match=r"no/x\.html: cannot be written"):
        write_page(tmp_path / "no" / "x.html", "Title", "", shown)
