"""The extrinsic track: equal means for all students, pairs by question, and any student on tasks of lm-eval."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import benchwright as bw

LM_EVAL = Path(__file__).parents[1] / "data" / "lm_eval_tasks"
SMALL = """
kind: task
name: small
extends: chores
data: {rows: 96, tests: 48}
protocol: {rows: 48, tokens: 600, lessons: {learning_rate: 3e-3, passes: 1}}
controls: []
---
kind: method
name: few
algorithm: {type: pipeline, stages: [{type: random, n: 20}]}
"""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()


def specs(text: str) -> None:
    for number, one in enumerate(text.split("---")):
        Path(f"specs/{number}.yaml").write_text(one)


def values(records: pd.DataFrame, method: str, metric: str) -> pd.Series:
    found = records[(records.method == method) & (records.metric == metric)]
    return found.set_index("item").value.sort_index()


def test_gains_are_paired_with_students_of_equal_means() -> None:
    specs(SMALL)
    run = bw.run("task:small", "random-half", "few", model="chores", out="run")
    records = run.records()
    for method in ("random-half", "few"):
        for unit in ("rows", "tokens"):
            own, random = (values(records, method, f"exact.{unit}{arm}") for arm in ("", ".random"))
            assert (values(records, method, f"gain.{unit}") == own - random).all()
            assert len(own) == 48
            # The student of random rows, and that of clean ones, are the same for all methods.
            for arm in (".random", ".oracle"):
                one, other = (values(records, m, f"exact.{unit}{arm}") for m in ("random-half", "few"))
                assert (one == other).all()
    assert len(set(values(records, "few", "exact.rows"))) == 2
    facts = {cell.method: cell.meta["facts"] for cell in run.cells()}
    assert (facts["few"]["rows_budget"], facts["few"]["rows_given_by_rows"]) == (48, 20)
    assert facts["random-half"]["rows_given_by_rows"] == 48
    warnings = {cell.method: cell.meta["warnings"] for cell in run.cells()}
    assert warnings["few"] == [
        f"the budget of {n} was not reached: 20 rows were kept" for n in ("48 rows", "600 tokens")
    ]


def test_who_keeps_everything_gains_nothing() -> None:
    """Its student gets the rows of the random one, in the same order: the same bytes."""
    specs(SMALL)
    Path("specs/9.yaml").write_text(
        "kind: method\nname: all\nalgorithm: {type: pipeline, stages: [{type: length, output: {least: 0}}]}\n"
    )
    records = bw.run("task:small", "all", model="chores", out="run").records()
    assert (values(records, "all", "gain.rows") == 0).all()
    assert (values(records, "all", "gain.tokens") == 0).all()
    assert values(records, "all", "exact.rows").nunique() == 2


def test_any_student_and_tasks_of_lm_eval() -> None:
    facts = [json.loads(line) for line in (LM_EVAL / "facts.jsonl").read_text().splitlines()]
    rows = [{"instruction": fact["prompt"], "output": fact["answer"]} for fact in facts]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    specs(
        f"""
kind: task
name: tuned
data: {{type: instructions, file: ./rows.jsonl}}
protocol:
  type: fine_tuned
  rows: 4
  lessons: {{learning_rate: 1e-3, passes: 2, parameters: {{type: lora, rank: 2, modules: [attention_query]}}}}
  general: {{tasks: [atlas_facts], folder: {LM_EVAL}, limit: 6}}
---
kind: method
name: short
algorithm: {{type: pipeline, stages: [{{type: random, n: 5}}]}}
"""
    )
    Path("rows.jsonl").rename("specs/rows.jsonl")
    run = bw.run("task:tuned", "short", model="atlas-small", out="run")
    records = run.records()
    own, random, before = (
        values(records, "short", m) for m in ("general.rows", "general.rows.random", "general.before")
    )
    assert len(own) == len(before) == 12  # six documents under two metrics
    assert (values(records, "short", "gain.rows") == own - random).all()
    assert set(run.items().benchmark) == {"atlas_facts.acc", "atlas_facts.acc_norm"}
    (cell,) = run.cells()
    assert cell.meta["facts"]["rows_given_by_rows"] == 4
