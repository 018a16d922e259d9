"""`benchwright instruct run` and `run_pipeline`: files in and out, resuming, endpoints that fail, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_fixtures import Says, serving
from datasets import Dataset
from typer.testing import CliRunner, Result

import benchwright as bw
from benchwright.cli.app import app
from benchwright.errors import BenchwrightError

ROWS = [
    {"id": "a", "instruction": "Name three birds.", "output": "Wren, robin and crow."},
    {"id": "b", "instruction": "name THREE birds.", "output": "wren, robin  and crow."},
    {"id": "c", "instruction": "Name three different birds.", "output": "Owl, finch and lark."},
    {"id": "d", "instruction": "Say why the sky looks blue.", "output": "N/A"},
    {"id": "e", "instruction": "Say what a lighthouse is for.", "output": "It shows ships where the shore is."},
]
JUDGE = """
kind: method
name: judged
algorithm:
  type: pipeline
  stages: [{type: llm_score}]
  models: {judge: endpoint.yaml}
"""
ENDPOINT = """
kind: model
name: endpoint
source:
  {type: openai, model: m, base_url: "%s", retries: 0, give_up_after: 2, concurrency: 1,
   prices: {input_per_million: 1000000, output_per_million: 2000000}}
"""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write("rows.jsonl", *ROWS)


def write(name: str, *rows: Any) -> None:
    Path(name).write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def run(*words: str, pipeline: str = "curate", source: str = "rows.jsonl") -> Result:
    return CliRunner().invoke(app, ["instruct", "run", pipeline, "--in", source, "--out", "kept.jsonl", *words])


def wrong(result: Result) -> str:
    assert isinstance(result.exception, BenchwrightError), result.exception
    assert result.exception.exit_code == 2
    return str(result.exception)


def test_every_row_is_written_with_the_reason() -> None:
    result = run("--json")
    assert result.exit_code == 0, result.exception
    assert [row["id"] for row in read("kept.jsonl")] == ["a", "e"]
    told = {row["id"]: row["benchwright"] for row in read("kept.rejected.jsonl")}
    assert (told["b"]["stage"], told["b"]["reason"], told["b"]["neighbour"]) == ("exact_duplicates", "duplicate", "a")
    assert (told["c"]["stage"], told["c"]["neighbour"]) == ("rouge", "a")
    assert told["c"]["value"] == pytest.approx(6 / 7)
    assert (told["d"]["stage"], told["d"]["reason"]) == ("rules", "empty")
    found = json.loads(result.stdout)
    assert (found["format"], found["read"], found["kept"], found["not_judged"]) == ("alpaca", 5, 2, 0)
    assert [(s["stage"], s["in"], s["kept"]) for s in found["stages"]] == [
        ("exact_duplicates", 5, 4),
        ("length", 4, 4),
        ("rules", 4, 3),
        ("rouge", 3, 2),
    ]
    # What was read is written again as it was, whatever else a record holds.
    assert {k: v for k, v in read("kept.jsonl")[0].items() if k != "benchwright"} == ROWS[0]


def test_the_same_bytes_again_and_from_every_kind_of_file() -> None:
    assert run().exit_code == 0
    kept, rejected = Path("kept.jsonl").read_bytes(), Path("kept.rejected.jsonl").read_bytes()
    Dataset.from_list(ROWS).to_parquet("rows.parquet")
    Dataset.from_list(ROWS).save_to_disk("saved")
    Path("rows.json").write_text(json.dumps(ROWS))
    for source in ("rows.jsonl", "rows.parquet", "saved", "rows.json"):
        assert run("--force", source=source).exit_code == 0
        assert (Path("kept.jsonl").read_bytes(), Path("kept.rejected.jsonl").read_bytes()) == (kept, rejected)


def test_what_is_broken_is_set_aside() -> None:
    write("rows.jsonl", *ROWS[:1], "{broken", {"instruction": 1}, ROWS[4])
    assert run().exit_code == 0
    assert [row["id"] for row in read("kept.jsonl")] == ["a", "e"]
    assert [row["benchwright"]["stage"] for row in read("kept.rejected.jsonl")] == ["read", "read"]
    assert read("kept.rejected.jsonl")[0]["benchwright"]["notes"]["place"] == "line 2"


def test_python_in_and_out() -> None:
    found = bw.run_pipeline("curate", Dataset.from_list(ROWS))
    assert found.kept["id"][:] == ["a", "e"]
    assert [told["stage"] for told in found.rejected["benchwright"]] == ["exact_duplicates", "rules", "rouge"]
    assert found.account.kept == 2
    assert bw.run_pipeline("curate", "rows.jsonl").kept["id"][:] == ["a", "e"]


def test_an_endpoint_that_fails_half_way_costs_nothing_twice() -> None:
    down = True

    def says(body: dict[str, Any], number: int) -> Says:
        text = body["messages"][-1]["content"]
        if down and ("blue" in text or "lighthouse" in text):
            return Says("overloaded", status=500)
        return Says("Fine. Score: 5" if "sky" not in text else "Empty. Score: 1")

    with serving(says) as server:
        Path("judge.yaml").write_text(JUDGE)
        Path("endpoint.yaml").write_text(ENDPOINT % server.url)
        result = run("--json", pipeline="judge.yaml")
        assert result.exit_code == 3
        assert "2 rows were not judged: the same command with --resume asks again" in result.stderr
        found = json.loads(result.stdout)
        assert (found["kept"], found["not_judged"]) == (3, 2)
        assert found["asked"]["judge"]["errors"] == {"http 500": 2}
        assert found["asked"]["judge"]["cost"] == 3 * (7 * 1 + 3 * 2)
        assert [row["benchwright"]["reason"] for row in read("kept.rejected.jsonl")] == ["no reply: http 500"] * 2
        asked = len(server.bodies)
        assert "--out kept.jsonl: exists" in wrong(run(pipeline="judge.yaml"))
        Path("kept.jsonl").unlink()
        Path("kept.rejected.jsonl").unlink()
        assert "kept.jsonl.replies holds replies of an earlier run: --resume goes on" in wrong(
            run(pipeline="judge.yaml")
        )
        down = False
        assert run("--resume", pipeline="judge.yaml").exit_code == 0
        assert len(server.bodies) == asked + 2
    assert [row["id"] for row in read("kept.jsonl")] == ["a", "b", "c", "e"]
    assert read("kept.rejected.jsonl")[0]["benchwright"]["value"] == 1.0
    # All replies are there: nobody is asked.
    assert run("--resume", pipeline="judge.yaml").exit_code == 0


def test_a_model_for_a_role_is_named_on_the_command_line() -> None:
    with serving(lambda body, number: Says("Score: 5")) as server:
        Path("judge.yaml").write_text(JUDGE.replace("  models: {judge: endpoint.yaml}\n", ""))
        Path("endpoint.yaml").write_text(ENDPOINT % server.url)
        assert "needs a model for its role 'judge'" in wrong(run(pipeline="judge.yaml"))
        assert run("--model", "judge=endpoint.yaml", pipeline="judge.yaml").exit_code == 0
        assert len(server.bodies) == 5
        assert "unknown role 'jugde'; did you mean 'judge'?" in wrong(
            run("--model", "judge=endpoint.yaml", "--model", "jugde=x", "--force", pipeline="judge.yaml")
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "judge"], "--model judge: expected ROLE=NAME"),
        (["--format", "alpacca"], "unknown format 'alpacca'; did you mean 'alpaca'?"),
        (["--out", "kept.csv"], "expected a name with .jsonl"),
        (["--out", "no/kept.jsonl"], "--out no/kept.jsonl: there is no folder no"),
        (["--out", "rows.jsonl"], "is, or is inside of, what is read"),
        (["--rejected", "kept.jsonl"], "is --out as well"),
        (["--resume", "--force"], "choose one"),
        (["--format", "messages"], "not in format messages"),
    ],
)
def test_mistakes_are_told(words: list[str], message: str) -> None:
    result = run(*words)
    if result.exit_code == 0:  # records that are not in the format which was asked for: all set aside
        assert all(message in row["benchwright"]["reason"] for row in read("kept.rejected.jsonl"))
        assert read("kept.jsonl") == []
    else:
        assert message in wrong(result)
        assert not Path("kept.jsonl").exists()


def test_nothing_is_written_over() -> None:
    assert run().exit_code == 0
    before = Path("kept.jsonl").read_bytes()
    assert "--out kept.jsonl: exists; choose another name, or --force" in wrong(run())
    assert "--resume: kept.jsonl is finished, and no model was asked for it" in wrong(run("--resume"))
    assert Path("kept.jsonl").read_bytes() == before
    for name in ("data.a.jsonl", "data.b.jsonl"):
        assert run("--out", name).exit_code == 0
    assert Path("data.a.rejected.jsonl").is_file()
    assert Path("data.b.rejected.jsonl").is_file()


def test_only_the_same_run_goes_on() -> None:
    with serving(lambda body, number: Says("Score: 5")) as server:
        Path("judge.yaml").write_text(JUDGE)
        Path("endpoint.yaml").write_text(ENDPOINT % server.url)
        assert run(pipeline="judge.yaml").exit_code == 0
        before = Path("kept.jsonl").read_bytes()
        write("other.jsonl", ROWS[0])
        for words, source in ((["--seed", "1"], "rows.jsonl"), ([], "other.jsonl")):
            again = run("--resume", *words, pipeline="judge.yaml", source=source)
            assert "belongs to a run of another pipeline, file, format, seed or limit" in wrong(again)
        assert Path("kept.jsonl").read_bytes() == before
        assert run("--resume", pipeline="judge.yaml").exit_code == 0
        assert len(server.bodies) == 5


def test_nonsense_is_asked_for_again() -> None:
    sober = False

    def says(body: dict[str, Any], number: int) -> Says:
        return Says("Score: 5" if sober else "Lovely weather!")

    with serving(says) as server:
        Path("judge.yaml").write_text(JUDGE)
        Path("endpoint.yaml").write_text(ENDPOINT % server.url)
        result = run(pipeline="judge.yaml")
        assert result.exit_code == 3
        assert "no row was kept (most: llm_score: unparsable reply, 5)" in result.stderr
        assert len(server.bodies) == 10  # each once more, with the reason
        sober = True
        assert run("--resume", pipeline="judge.yaml").exit_code == 0
        assert len(server.bodies) == 15
    assert len(read("kept.jsonl")) == 5


def test_ctrl_c_says_where_the_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchwright.adapters.instruct.methods.lexical import Length

    def run_(self: Length, rows: Any, bench: Any) -> Any:
        yield next(rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(Length, "run", run_)
    Path("one.yaml").write_text("kind: method\nname: one\nalgorithm: {type: pipeline, stages: [{type: length}]}\n")
    result = run(pipeline="one.yaml")
    assert isinstance(result.exception, BenchwrightError)
    assert result.exception.exit_code == 130
    assert "what there was by then is in kept.jsonl.unfinished; the same command with --resume" in str(result.exception)
    assert [row["id"] for row in read("kept.jsonl.unfinished")] == ["a"]


def test_missing_files_and_names_that_are_no_pipeline() -> None:
    assert "nothing.jsonl: no such file" in wrong(run(source="nothing.jsonl"))
    write("empty.jsonl")
    assert "expected records, the file is empty" in wrong(run(source="empty.jsonl"))
    assert sorted(path.name for path in Path().iterdir()) == ["empty.jsonl", "rows.jsonl"]
    assert "unknown method 'curat'; did you mean 'curate'?" in wrong(run(pipeline="curat"))
    assert "method 'rome' is no pipeline" in wrong(run(pipeline="rome"))
    assert "needs a model for its role 'writer'" in wrong(run(pipeline="self-instruct"))
    Path("jugde.yaml").write_text(JUDGE.replace("{judge:", "{jugde:"))
    assert "unknown role 'jugde'; did you mean 'judge'?" in wrong(run(pipeline="jugde.yaml"))
    Path("bad.yaml").write_text("kind: method\nname: bad\nalgorithm:\n  type: pipeline\n  stages: [{type: roug}]\n")
    assert "bad.yaml:5:19: algorithm.stages.0.type: unknown type 'roug'" in wrong(run(pipeline="bad.yaml"))
