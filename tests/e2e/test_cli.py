"""What a new user types, with the mistakes that a new user makes: one clear message, exit code 2, nothing lost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run", "Missing argument"),
        ("rum quickstart", "No such command 'rum'"),
        ("run quikstart", "unknown suite or task or method 'quikstart'; did you mean 'quickstart'?"),
        ("run nothing.yaml", "nothing.yaml:1:1: cannot be read (No such file or directory)"),
        ("run quickstart --seeds 0,x", "--seeds 0,x: expected whole numbers by commas"),
        ("run quickstart --limit 0", "--limit"),
        ("run quickstart --executor slrm", "unknown executor 'slrm'"),
        ("run quickstart --dtype float31", "dtype: got 'float31'"),
        ("run quickstart --device gpu", "device: got 'gpu'"),
        ("run quickstart --shard 3/2", "--shard 3/2: i must be between 1 and n"),
        ("run quickstart --specs nowhere", "nowhere: no such folder of specs"),
        ("run knowedit-zsre --model atlas-small", "needs the data file ZsRE-test-all.json; give its folder with"),
        ("run knowedit-zsre --model /nowhere/model --data quickstart", "unknown model '/nowhere/model'"),
        ("validate", "Missing argument"),
        ("validate nowhere.yaml", "nowhere.yaml: no such file or folder"),
        ("list methid", "unknown kind 'methid'; did you mean 'method'?"),
        ("show ft-n", "did you mean 'ft-m'?"),
        ("show ft-m --model atlas-smal", "did you mean 'atlas-small'?"),
        ("new metod x", "unknown kind 'metod'; did you mean 'method'?"),
        ("new method Bad_Name!", "name: got 'Bad_Name!'"),
        ("new method ft-m", "'ft-m' is the name of a method already"),
        ("new method x --like rome2", "unknown method 'rome2'"),
        ("leaderboard nowhere", "nowhere: not a run folder"),
        ("report nowhere", "nowhere: not a run folder"),
        ("compare a.jsonl b.jsonl", "a.jsonl: no such run folder or baseline"),
        ("gate nowhere --baseline x", "x: no such run folder or baseline"),
        ("baseline update nowhere x.jsonl", "nowhere: no such run folder or baseline"),
    ],
)  # fmt: skip
def test_mistakes(cli: Cli, words: str, message: str) -> None:
    said = cli(*words.split(), expect=2)
    assert message in " ".join(said.stderr.split()), said.stderr


def test_a_method_in_one_yaml_file(cli: Cli, folder: Path) -> None:
    """The promise of the project: no Python, no registry, from a template to the leaderboard."""
    said = cli("new", "method", "mine", "--like", "quickstart-careful")
    file = folder / "specs" / "methods" / "mine.yaml"
    assert str(file.relative_to(folder)) in said.stdout
    assert "# algorithm:" in file.read_text(encoding="utf-8")
    cli("validate", file)
    assert "mine" in cli("list", "method").stdout
    file.write_text("kind: method\nname: mine\nextends: quickstart-hasty\n", encoding="utf-8")
    said = cli("run", "task:quickstart-grade", "mine", "quickstart-careful")
    assert "mine" in said.stdout
    board = json.loads((folder / "runs" / "task-quickstart-grade" / "leaderboard.json").read_text(encoding="utf-8"))
    methods = {row["method"] for row in board["tables"][0]["rows"]}
    assert methods == {"mine", "quickstart-careful", "majority-class", "prior-sampling"}


@pytest.mark.parametrize("kind", ["method", "task", "model", "suite"])
def test_what_new_writes_is_valid(cli: Cli, folder: Path, kind: str) -> None:
    cli("new", kind, "mine")
    cli("validate", folder / "specs")
    assert cli("show", f"{kind}:mine", "--resolved").stdout.startswith("name: mine")
    assert "is there already" in cli("new", kind, "mine", expect=2).stderr


def test_specs_from_any_folder_and_many_problems_at_once(cli: Cli, folder: Path) -> None:
    mine = folder / "elsewhere"
    mine.mkdir()
    (mine / "a.yaml").write_text("kind: method\nname: a\nextends: ft-m\nalgorithm: {lrr: 1}\n", encoding="utf-8")
    (mine / "b.yaml").write_text("kind: method\nname: b\nextends: c\n", encoding="utf-8")
    (mine / "c.yaml").write_text("kind: method\nname: c\nextends: ft-m\n", encoding="utf-8")
    said = cli("validate", mine, "--specs", mine, expect=2).stderr.strip().splitlines()
    assert len(said) == 1
    assert said[0].endswith("elsewhere/a.yaml:4:13: algorithm.lrr: unknown field; did you mean 'lr'?")
    assert "a" in cli("list", "method", "--specs", mine).stdout


def test_plan_explain_and_json(cli: Cli) -> None:
    words = ["task:quickstart-grade", "quickstart-careful", "--out", "r"]
    assert cli("plan", *words, "--explain").stdout.count("[new]") == 3
    cli("run", *words)
    rows = json.loads(cli("plan", *words, "--json").stdout)
    assert [r["runs"] for r in rows] == [False] * 3
    rows = json.loads(cli("plan", *words, "--limit", "5", "--json").stdout)
    assert {r["reason"] for r in rows} == {"limit none -> 5"}


def test_compare_gate_and_baseline(cli: Cli, folder: Path) -> None:
    specs = folder / "specs"
    specs.mkdir()
    method = specs / "mine.yaml"
    method.write_text("kind: method\nname: mine\nextends: quickstart-careful\n", encoding="utf-8")
    words = ["run", "task:quickstart-grade", "mine"]
    cli(*words, "--out", "old")
    cli("baseline", "update", "old", "base.jsonl.gz")
    assert "0 regressed" not in cli("gate", "old", "--baseline", "base.jsonl.gz").stderr
    # The method gets worse: its spec now names worse predictions.
    method.write_text(
        "kind: method\nname: mine\nextends: quickstart-careful\nalgorithm: {file: predictions_hasty.csv}\n",
        encoding="utf-8",
    )
    cli(*words, "--out", "new")
    said = cli(
        "gate", "new", "--baseline", "base.jsonl.gz", "--junit", "j.xml", "--markdown", "s.md", "--github", expect=1
    )
    assert "regressed" in said.stdout
    assert "::error file=" in said.stdout
    assert "mine.yaml,line=1" in said.stdout
    assert "<failure" in (folder / "j.xml").read_text(encoding="utf-8")
    assert "regressed" in (folder / "s.md").read_text(encoding="utf-8")
    assert "regressed" in cli("compare", "old", "new").stdout
    rows = json.loads(cli("compare", "new", "old", "--json").stdout)["rows"]
    assert {r["verdict"] for r in rows} == {"ok"}
    # Other data cannot be compared, and neither can a method that is missing.
    cli(*words, "--out", "short", "--limit", "50")
    assert "incomparable" in cli("gate", "short", "--baseline", "base.jsonl.gz", expect=3).stdout
    cli("run", "task:quickstart-grade", "quickstart-careful", "--out", "other")
    assert "incomparable" in cli("gate", "other", "--baseline", "base.jsonl.gz", expect=3).stdout
    assert "unknown verdict" in cli("gate", "new", "--baseline", "old", "--fail-on", "worse", expect=2).stderr


@pytest.mark.parametrize("content", ["[]", "{", '[{"prompt": "a", "subject": "s"}]', '[{"prompt": 5}]'])
def test_bad_records_are_named(cli: Cli, folder: Path, content: str) -> None:
    (folder / "d.json").write_text(content, encoding="utf-8")
    said = cli("run", "knowedit-zsre", "--model", "atlas-small", "--data", "d.json", "--out", "r", expect=1)
    expected = {
        "[]": "expected a JSON list of records",
        "{": "cannot be read as JSON",
        '[{"prompt": "a", "subject": "s"}]': "record 0 (of 1, from 0): target_new: expected a text, it is missing",
        '[{"prompt": 5}]': "record 0 (of 1, from 0): prompt: expected a text, got 5",
    }
    assert expected[content] in said.stderr


def test_bad_tables_are_named(cli: Cli, folder: Path) -> None:
    (folder / "data").mkdir()
    specs = folder / "specs"
    specs.mkdir()
    (specs / "t.yaml").write_text(
        "kind: task\nname: t\nextends: quickstart-grade\ndata_root: ../data\n", encoding="utf-8"
    )
    shipped = Path(__file__).parents[2] / "specs" / "data" / "quickstart"
    for file in shipped.glob("*.csv"):
        (folder / "data" / file.name).write_bytes(file.read_bytes())
    predictions = folder / "data" / "predictions_careful.csv"
    good = predictions.read_text(encoding="utf-8").splitlines()
    bad = {
        "2.5": (
            [good[0], "1150_left.jpeg,2.5,0,0"],
            "predictions_careful.csv:2: image '1150_left.jpeg': Good is '2.5'; expected a probability",
        ),
        "header": (["image,Good,Usabel,Reject", *good[1:]], "no column 'Usable'; did you mean 'Usabel'?"),
        "others": ([good[0], "x_left.jpeg,1,0,0"], "predicts none of the task's images"),
    }
    for lines, message in bad.values():
        predictions.write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert message in cli("run", "t", "quickstart-careful", "--out", "r", expect=1).stderr
    # A prediction that is missing or unusable is counted, and the others are scored.
    predictions.write_text("\n".join([*good[:-1], "1150_left.jpeg,0,0,1"]) + "\n", encoding="utf-8")
    cli("run", "t", "quickstart-careful", "--out", "r2")
    cells = [json.loads(f.read_text(encoding="utf-8")) for f in folder.glob("r2/cells/*/cell.json")]
    (careful,) = [c for c in cells if c["method"] == "quickstart-careful"]
    assert careful["skipped"] == {"no prediction for this image": 2}
    assert (
        f"predictions_careful.csv:{len(good)}: image '1150_left.jpeg' again, with other values"
        in careful["warnings"][0]
    )


def test_a_folder_that_cannot_be_written(cli: Cli, folder: Path) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    assert "a file is in the way" in cli("run", "quickstart", "--out", "file", expect=2).stderr
    assert "a file is in the way" in cli("run", "quickstart", "--out", "file/below", expect=2).stderr
    assert "/proc/none" in cli("run", "quickstart", "--out", "/proc/none", expect=2).stderr


def test_doctor_says_what_is_there(cli: Cli) -> None:
    report = json.loads(cli("doctor", "--json").stdout)
    assert report["packages"]["torch"]
    assert set(report) == {"benchwright", "packages", "devices", "vision", "caches", "plug-ins"}
    assert "give folders with --model DIR" in report["caches"]["hub models"] or report["caches"]["hub models"]
