"""Planted defects: nothing is used twice, every defect is one, and pairs are scored as pairs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchwright as bw
from benchwright.adapters.instruct.params import PlantedDefects
from benchwright.adapters.instruct.planting.defects import DUPLICATES, KINDS, SEVERITIES, SPOILED
from benchwright.adapters.instruct.planting.planted import CLEAN, Planted, planted
from benchwright.adapters.instruct.rows import Rejected, Row
from benchwright.adapters.instruct.run import record, roles
from benchwright.adapters.instruct.selecting import Selected
from benchwright.errors import DataError
from benchwright.job import Part, rng

EACH, CLEAN_ROWS = 3, 60


def sound(count: int, prefix: str = "r") -> list[Row]:
    def words(i: int, part: str) -> str:
        return " ".join(f"{part}{prefix}{i}x{j}" for j in range(8))

    return [
        Row(f"{prefix}{i}", f"Tell {words(i, 'q')}?", "", f"A {words(i, 'a')}. B {words(i, 'b')}.")
        for i in range(count)
    ]


def plant(seed: int = 0, **changed: Any) -> list[Planted]:
    given = {"clean": CLEAN_ROWS, "each": EACH, "rng": lambda purpose: rng(seed, "planting", purpose), **changed}
    return planted(sound(200), sound(10, "e"), **given)


def test_nothing_is_used_twice() -> None:
    rows = plant()
    used = Counter(p.source for p in rows if p.defect not in DUPLICATES)
    assert max(used.values()) == 1
    assert max(Counter(p.source for p in rows if p.defect in DUPLICATES).values()) == 1
    counts = Counter((p.defect, p.severity) for p in rows)
    assert counts.pop((CLEAN, "")) == CLEAN_ROWS
    assert counts == {(kind, severity): EACH for kind in KINDS for severity in SEVERITIES}


def test_what_answers_another_instruction_has_a_donor_of_its_own() -> None:
    rows = plant()
    sources = {p.source for p in rows}
    answers = {row.output: row.id for row in sound(200)}
    for p in rows:
        if (p.defect, p.severity) == ("mismatched", "severe"):
            assert answers[p.row.output] not in sources


def test_the_ids_tell_nothing_and_a_seed_plants_the_same() -> None:
    rows = plant()
    assert [p.row.id for p in rows] == [f"row-{i:05d}" for i in range(len(rows))]
    assert all(p.row.record is None and not p.row.notes for p in rows)
    assert rows == plant()
    assert [p.row for p in rows] != [p.row for p in plant(seed=1)]
    # The defects are not all at one place.
    places = [i for i, p in enumerate(rows) if p.defect != CLEAN]
    assert 0.4 < np.mean(places) / len(rows) < 0.6


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_changes_what_it_says(kind: str, severity: str) -> None:
    originals = {row.id: row for row in (*sound(200), *sound(10, "e"))}
    for p in plant():
        if (p.defect, p.severity) != (kind, severity):
            continue
        before = originals[p.source]
        if kind in SPOILED:
            assert (p.row.instruction, p.row.input) == (before.instruction, before.input)
            assert p.row.output != before.output
        elif (kind, severity) in (("exact_duplicate", "severe"), ("contamination", "severe")):
            assert (p.row.instruction, p.row.output) == (before.instruction, before.output)
        else:
            assert p.row.instruction != before.instruction


def test_known_defects() -> None:
    (row,) = (p.row for p in plant(each=1) if (p.defect, p.severity) == ("truncated", "severe"))
    assert len(row.output.split()) == 6  # a third of 18 words
    (row,) = (p.row for p in plant(each=1) if (p.defect, p.severity) == ("empty", "severe"))
    assert row.output == ""
    (row,) = (p.row for p in plant(each=1) if (p.defect, p.severity) == ("echoed", "severe"))
    assert row.output == row.prompt
    (row,) = (p.row for p in plant(each=1) if (p.defect, p.severity) == ("repeated", "severe"))
    assert len(set(row.output.split())) == 9


def test_too_few_rows_are_told() -> None:
    with pytest.raises(DataError, match=r"needs 126 sound rows; there are 100"):
        planted(sound(100), sound(10, "e"), clean=60, each=3, rng=lambda p: rng(0, p))
    with pytest.raises(DataError, match="items of the evaluation set; there are 2"):
        planted(sound(200), sound(2, "e"), clean=60, each=3, rng=lambda p: rng(0, p))


ORIGINAL, COPY, OTHER, BAD = (Row(id_, "i", output="o") for id_ in ("o", "c", "x", "b"))
TRUTH = [
    Planted(ORIGINAL, CLEAN, "", "pair", "s"),
    Planted(COPY, "exact_duplicate", "severe", "pair", "s"),
    Planted(OTHER, CLEAN, "", None, "t"),
    Planted(BAD, "empty", "mild", None, "u"),
]


def scored(kept: str, scores: dict[str, float] | None = None, budget: int = 2) -> dict[str, float]:
    """The metrics of a selection that keeps the rows with these ids."""
    rows = {row.id: row.scored(s=(scores or {}).get(row.id)) for row in (ORIGINAL, COPY, OTHER, BAD)}
    found = Selected([rows[i] for i in kept], [Rejected(r, "no") for i, r in rows.items() if i not in kept])
    part, protocol = Part("p"), PlantedDefects(type="planted_defects", budget=budget)
    record(part, protocol, TRUTH, found, ("s", 1.0) if scores else None)
    values = {}
    for metric in protocol.metrics():
        by_item = {c: {r["item"]: r["value"] for r in part.records if r["metric"] == c} for c in metric.inputs}
        items = [i for i in by_item[metric.inputs[0]] if all(i in by_item[c] for c in metric.inputs)]
        if items and not metric.by:
            columns = {c: np.array([by_item[c][i] for i in items]) for c in metric.inputs}
            values[metric.id] = round(float(metric.value(columns)[0]), 6)
    return values


@pytest.mark.parametrize("kept", ["ox", "cx"])
def test_which_of_a_pair_goes_does_not_matter(kept: str) -> None:
    found = scored(kept)
    assert found == {
        "removal_f1": 1.0,
        "removal_precision": 1.0,
        "removal_recall": 1.0,
        "clean_lost": 0.0,
        "purity": 1.0,
        "purity_at_budget": 1.0,
        "one_left": 1.0,
    }


def test_a_pair_that_is_gone_costs_a_clean_row() -> None:
    found = scored("x")
    assert (found["removal_precision"], found["removal_recall"], found["clean_lost"]) == (0.666667, 1.0, 0.5)
    assert found["one_left"] == 0.0
    assert "purity_at_budget" not in found


def test_what_keeps_everything_finds_nothing() -> None:
    found = scored("ocxb")
    assert np.isnan(found["removal_precision"])
    assert (found["removal_recall"], found["clean_lost"], found["purity"], found["one_left"]) == (0.0, 0.0, 0.5, 0.0)
    assert found["purity_at_budget"] == 0.5  # any two of four rows, two of them clean


def test_scores_rank_rows() -> None:
    found = scored("ocxb", {"o": 0.1, "c": 0.9, "x": 0.2, "b": 0.5})
    assert found["purity_at_budget"] == 1.0  # o and x
    assert found["auroc"] == 1.0  # pairs aside, b is worse than x
    assert scored("ocxb", {"o": 0.1, "c": 0.9, "x": 0.6, "b": 0.5})["auroc"] == 0.0


def test_roles_trade_places_only_where_the_copy_alone_is_left() -> None:
    assert roles(TRUTH, {"c"})["c"].defect == CLEAN
    assert roles(TRUTH, {"o"})["o"].defect == CLEAN
    assert roles(TRUTH, {"o", "c"})["c"].defect == "exact_duplicate"
    assert roles(TRUTH, set())["o"].defect == CLEAN


def test_rows_that_were_not_judged_are_left_out() -> None:
    found = Selected([ORIGINAL, OTHER], [Rejected(BAD, "no reply", failed=True), Rejected(COPY, "duplicate")])
    part = Part("p")
    record(part, PlantedDefects(type="planted_defects"), TRUTH, found, None)
    assert {"item": "b", "cluster": "b", "skipped": "no reply"} in part.items
    assert not [r for r in part.records if r["item"] == "b"]
    assert part.warnings == ["1 rows were not judged, since a model gave no reply; they are left out"]


def test_a_limit_is_one_of_clean_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHWRIGHT_CACHE", str(tmp_path / "cache"))
    run = bw.run("task:planted-small", "exact-duplicates", out=tmp_path / "run", limit=10)
    (facts,) = {tuple(cell.meta["facts"]["rows_by_defect"].items()) for cell in run.cells()}
    assert dict(facts) == {"clean": 10, **dict.fromkeys(KINDS, 2)}
    assert all(cell.ok for cell in run.cells())
