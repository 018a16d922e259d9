"""Published numbers: means are recomputed from their parts, misprints and disagreements are told and must be so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchwright.api import library, validate
from benchwright.cli import main
from benchwright.errors import SpecError
from benchwright.leaderboards.rows import published_rows
from benchwright.leaderboards.tables import Column
from benchwright.loading.references import adds_up
from benchwright.loading.resolve import resolve, resolved_json
from benchwright.metrics import Metric

HEAD = "kind: reference\nname: mine\ntask: eyeq-grading\nrows:\n"
ROW = """\
  - method: FT-L, a model
    values: {accuracy: 0.9770, macro_precision: 0.8967, macro_recall: 0.4748, macro_f1: 0.6858}
    source: {title: a paper}
    aggregates: {macro_f1: {of: [macro_precision, macro_recall]}}
"""
MISPRINT = """\
    misprints:
      macro_f1: {printed: 0.7828, mean_of: [accuracy, macro_precision, macro_recall], note: accuracy was counted too}
"""
DISAGREEMENTS = """\
    disagreements:
      macro_precision: {printed: 0.9333, where: table 14, mean_of: [0.8963, 0.9185, 0.9852]}
      macro_recall: {printed: 0.8313, where: table 14}
      macro_f1: {printed: 0.8823, where: table 14}
"""
WHOLE = HEAD + ROW + MISPRINT + DISAGREEMENTS


def problems(folder: Path, text: str) -> list[str]:
    file = folder / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        validate(file)
    return [str(p).removeprefix(f"{file}:") for p in caught.value.problems]


def test_printed_means_are_within_rounding() -> None:
    assert adds_up(0.4351, [0.8430, 0.2200, 0.4659, 0.2115], 4)
    # SafeEdit's table 1 prints the mean of five where that of four should be (arXiv 2403.14472).
    for printed, ds, four in (
        (0.7404, 0.9770, (0.8967, 0.4748, 0.9653, 0.3881)),
        (0.5738, 0.6985, (0.5444, 0.5093, 0.5989, 0.5181)),
    ):
        assert not adds_up(printed, four, 4)
        assert adds_up(printed, (ds, *four), 4)
    assert adds_up(0.12345, [0.1233, 0.1234], 4)
    assert not adds_up(0.1236, [0.1234, 0.1234], 4)


def test_a_misprint_that_is_told_is_read(folder: Path) -> None:
    file = folder / "mine.yaml"
    file.write_text(WHOLE, encoding="utf-8")
    validate(file)
    known = library()
    (row,) = resolve(known, known.add(file)).spec.rows
    assert (row.values["macro_f1"], row.misprints["macro_f1"].printed) == (0.6858, 0.7828)


CHANGES = {
    # a cell that does not add up and is not told of
    ("macro_f1: 0.6858", "macro_f1: 0.7828"): (
        "6:89: rows.0.values.macro_f1: macro_f1 is printed as 0.7828 but its parts have the mean 0.68575; if it is "
        "printed so, write what the parts give here, and the printed number under `misprints`"
    ),
    # a misprint that is none
    ("printed: 0.7828", "printed: 0.6857"): (
        "10:27: rows.0.misprints.macro_f1.printed: macro_f1 printed as 0.6857 is no misprint: its parts have the mean "
        "0.68575; leave it out"
    ),
    ("mean_of: [accuracy, macro_precision", "mean_of: [accuracy"): (
        "rows.0.misprints.macro_f1.mean_of: 0.7828 is not the mean of these, which is 0.7259"
    ),
    ("mean_of: [accuracy", "mean_of: [acuracy"): "rows.0.misprints.macro_f1.mean_of: the row has no value acuracy",
    ("      macro_f1: {printed: 0.7828", "      accuracy: {printed: 0.7828"): (
        "rows.0.misprints.accuracy: 'accuracy' is no aggregate of this row; say in `aggregates` what it is a mean of"
    ),
    (", note: accuracy was counted too", ""): "rows.0.misprints.macro_f1.note: missing",
    ("of: [macro_precision, macro_recall]}}", "of: [macro_precision, quadratic_weighted_kappa]}}"): (
        "rows.0.aggregates.macro_f1: aggregate 'macro_f1' needs the values quadratic_weighted_kappa"
    ),
    # a disagreement that is none
    ("printed: 0.8313", "printed: 0.4747"): (
        "rows.0.disagreements.macro_recall.printed: macro_recall: 0.4747 and 0.4748 are the same within rounding; "
        "leave it out"
    ),
    ("0.9185", "0.9285"): (
        "rows.0.disagreements.macro_precision.mean_of: 0.9333 is not the mean of these, which is 0.936667"
    ),
    ("macro_f1: {printed: 0.8823", "macro_f1: {printed: 0.8832"): (
        "rows.0.disagreements.macro_f1.printed: macro_f1 is 0.8832 in table 14, but its parts there have the mean "
        "0.8823"
    ),
    ("macro_recall: {printed: 0.8313", "quadratic_weighted_kappa: {printed: 0.8313"): (
        "rows.0.disagreements.quadratic_weighted_kappa: the row has no value 'quadratic_weighted_kappa'"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_add_up_is_refused_at_its_place(folder: Path, change: tuple[str, str]) -> None:
    assert WHOLE.count(change[0]) == 1
    found = problems(folder, WHOLE.replace(*change))
    assert any(CHANGES[change] in p for p in found), found


def test_a_misprint_at_another_place_is_not_excused(folder: Path) -> None:
    """Each row answers for its own cells."""
    other = ROW.replace("FT-L", "MEND").replace("0.6858", "0.7828")
    found = problems(folder, WHOLE + other)
    assert len(found) == 1
    assert found[0].startswith("16:89: rows.1.values.macro_f1: macro_f1 is printed as 0.7828")


def test_the_command_prints_place_metric_and_both_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "copy.yaml").write_text(WHOLE.replace("macro_f1: 0.6858", "macro_f1: 0.7828"), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["benchwright", "validate", "copy.yaml"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(
        "copy.yaml:6:89: rows.0.values.macro_f1: macro_f1 is printed as 0.7828 but its parts have the mean 0.68575"
    )


def metric(name: str) -> Column:
    return Column(Metric(name, name, "higher", "d", "s"))


def test_a_row_shows_what_its_parts_give_and_says_what_was_printed(folder: Path) -> None:
    file = folder / "mine.yaml"
    file.write_text(WHOLE.replace("    source", "    note: one model\n    source"), encoding="utf-8")
    known = library()
    rows: list[dict[str, Any]] = resolved_json(resolve(known, known.add(file)).spec)["rows"]
    (shown,) = published_rows([{"name": "mine", "rows": rows}], [metric("macro_f1"), metric("macro_recall")])
    assert shown.values == (0.6858, 0.4748)
    assert shown.note == (
        "one model; macro_f1 is printed as 0.7828, its parts give 0.6858: accuracy was counted too; "
        "table 14 prints macro_precision 0.9333, macro_recall 0.8313, macro_f1 0.8823"
    )
    # Runs of an earlier version have neither.
    old = {k: v for k, v in rows[0].items() if k not in ("misprints", "disagreements")}
    assert published_rows([{"name": "mine", "rows": [old]}], [])[0].note == "one model"
