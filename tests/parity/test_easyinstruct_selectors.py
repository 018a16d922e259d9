"""Selectors against what EasyInstruct (3291a68, unmodified) wrote: kept ids, their order, scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchwright.adapters.instruct.code import cirs, complexity_easyinstruct
from benchwright.adapters.instruct.methods.choosing import RandomEasyinstruct
from benchwright.adapters.instruct.methods.code import CirsEasyinstruct
from benchwright.adapters.instruct.methods.duplicates import DedupEasyinstruct, Rouge, RougeEasyinstruct
from benchwright.adapters.instruct.methods.lexical import LengthEasyinstruct, MtldEasyinstruct, Span
from benchwright.adapters.instruct.rows import Rejected, Row
from benchwright.adapters.instruct.stage import Stage, Workbench


@pytest.fixture(scope="module")
def fixtures(shared: Path) -> Path:
    """The folder of the peer's inputs and answers."""
    folder = shared / "fixtures" / "instruct"
    if not folder.is_dir():
        pytest.skip("no ../shared/fixtures/instruct with what EasyInstruct wrote")
    return folder


def _rows(file: Path) -> list[Row]:
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Row(str(r["id"]), r["instruction"], r.get("input", ""), r.get("output", ""), record=r) for r in records]


@pytest.fixture(scope="module")
def rows(fixtures: Path) -> list[Row]:
    """266 rows: Alpaca, Self-Instruct, and edge cases."""
    return _rows(fixtures / "input_alpaca.jsonl")


def _expected(fixtures: Path, name: str) -> Any:
    return json.loads((fixtures / "expected" / f"{name}.json").read_text(encoding="utf-8"))


def _kept(stage: Stage, rows: list[Row]) -> list[Row]:
    outcomes = list(stage.run(iter(rows), Workbench(seed=0, name="it")))
    assert sorted((o.row if isinstance(o, Rejected) else o).id for o in outcomes) == sorted(r.id for r in rows)
    return [o for o in outcomes if isinstance(o, Row)]


def _ids(rows: list[Row]) -> list[int]:
    return [int(row.id) for row in rows]


def test_the_deduplicator_of_alpaca_rows(fixtures: Path, rows: list[Row]) -> None:
    kept = _kept(DedupEasyinstruct(type="dedup-easyinstruct"), rows)
    assert _ids(kept) == _expected(fixtures, "deduplicator_alpaca")["kept_ids"]


def test_the_deduplicator_of_self_instruct_records_with_its_skipped_instances(fixtures: Path) -> None:
    kept = _kept(DedupEasyinstruct(type="dedup-easyinstruct"), _rows(fixtures / "input_self_instruct.jsonl"))
    found = [{"id": row.record["id"], "instances": row.record["instances"]} for row in kept if row.record]
    assert found == _expected(fixtures, "deduplicator_self_instruct")["kept"]


@pytest.mark.parametrize("name", ["length_default", "length_config"])
def test_lengths(fixtures: Path, rows: list[Row], name: str) -> None:
    expected = _expected(fixtures, name)
    changed = expected["params"]
    stage = LengthEasyinstruct(
        type="length-easyinstruct",
        instruction=Span(least=3, most=changed.get("max_instruction_length", 150)),
        response=Span(least=1, most=changed.get("max_response_length", 350)),
    )
    assert _ids(_kept(stage, rows)) == expected["kept_ids"]


def test_mtld(fixtures: Path, rows: list[Row]) -> None:
    expected = _expected(fixtures, "mtld")
    assert _ids(_kept(MtldEasyinstruct(type="mtld-easyinstruct"), rows)) == expected["kept_ids"]
    every = _kept(MtldEasyinstruct(type="mtld-easyinstruct", minimum=None, maximum=None), rows)
    assert [[int(row.id), row.scores["it"]] for row in every] == expected["scores"]


def test_a_random_sample(fixtures: Path, rows: list[Row]) -> None:
    kept = _kept(RandomEasyinstruct(type="random-easyinstruct", n=50), rows)
    assert _ids(kept) == _expected(fixtures, "random_50_seed42")["ids_in_order"]


def test_rouge(fixtures: Path, rows: list[Row]) -> None:
    expected = _expected(fixtures, "rouge_filter")
    kept = _kept(RougeEasyinstruct(type="rouge-easyinstruct", seed=expected["random_seed"]), rows)
    assert _ids(kept) == expected["out_ids_in_order"]
    assert [[int(row.id), row.scores["it"]] for row in kept] == expected["avg_rouge_score"]


def test_the_exact_search_decides_like_rouge(fixtures: Path, rows: list[Row]) -> None:
    expected = _expected(fixtures, "rouge_filter")
    by_id = {int(row.id): row for row in rows}
    shuffled = [by_id[i] for i in expected["processing_order"]]
    assert _ids(_kept(Rouge(type="rouge", tokeniser="ascii"), shuffled)) == expected["out_ids_in_order"]


def test_cirs(fixtures: Path) -> None:
    records = json.loads((fixtures / "input_code.json").read_text(encoding="utf-8"))
    expected = _expected(fixtures, "cirs")
    pieces = [complexity_easyinstruct(record["output"]) for record in records]
    counted = [piece for piece in pieces if piece is not None]
    scores = cirs(counted, CirsEasyinstruct.epsilon)
    found = [
        [number, list(piece[:3]), piece.logic]
        for number, piece in zip((i for i, p in enumerate(pieces) if p), counted, strict=True)
    ]
    assert found == [row[:3] for row in expected["rows"]]
    for column, values in ((3, scores.structure), (4, scores.logic), (5, scores.score)):
        assert values.tolist() == pytest.approx([row[column] for row in expected["rows"]], rel=1e-14)
    rows = [Row(str(i), r["instruction"], r["input"], r["output"]) for i, r in enumerate(records)]
    assert len(_kept(CirsEasyinstruct(type="cirs-easyinstruct"), rows)) == expected["sizes_low_med_high"][1]
