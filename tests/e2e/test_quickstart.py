"""The main job: it runs offline, twice to the same bytes, from the command line and from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import benchwright as bw

Cli = Callable[..., subprocess.CompletedProcess[str]]


def content(run: Path) -> dict[str, bytes]:
    files = (f for f in sorted(run.glob("cells/**/*")) if f.is_file() and f.name != "cell.json")
    return {str(f.relative_to(run)): f.read_bytes() for f in files}


def test_a_suite(cli: Cli, folder: Path) -> None:
    said = cli("run", "ci")
    run = folder / "runs" / "ci"
    assert "atlas-small-edit" in said.stdout
    for name in (
        "leaderboard.csv",
        "leaderboard.md",
        "leaderboard.json",
        "leaderboard.html",
        "report.html",
        "report.md",
    ):
        assert (run / name).stat().st_size > 500
    tables = {t["task"]: t for t in json.loads((run / "leaderboard.json").read_text(encoding="utf-8"))["tables"]}
    edit = {r["method"]: r["values"] for r in tables["atlas-small-edit"]["rows"]}
    # What must be so by definition, whatever the numbers: the untouched model agrees with itself, and an edit works.
    assert edit["unedited"]["locality.exact"]["value"] == edit["unedited"]["locality.token"]["value"] == 1.0
    assert edit["ft-m"]["reliability.exact"]["value"] > 0.9 > 0.1 > edit["unedited"]["reliability.exact"]["value"]
    assert all(r["status"] == "ok" for t in tables.values() for r in t["rows"])
    # Again, in another folder with another cache: the same bytes. And again in the same one: nothing to do.
    cli("run", "ci", "--out", "again", BENCHWRIGHT_CACHE=str(folder / "other"))
    assert content(folder / "again") == content(run)
    assert "36 cells, 0 to run, 36 done before" in cli("run", "ci").stderr
    # Another process, other order of devices and workers: cells of one run merge by being copied.
    assert cli("leaderboard", "again", run, "--out", "merged").returncode == 0
    assert (folder / "merged" / "leaderboard.csv").read_bytes() == (folder / "again" / "leaderboard.csv").read_bytes()


def test_the_python_api(folder: Path) -> None:
    run = bw.run("task:quickstart-grade", "quickstart-careful", seeds=[0, 1], executor="inline")
    records, items, board = run.records(), run.items(), run.leaderboard()
    assert set(records.columns) == {"cell", "task", "method", "model", "seed", "item", "metric", "value"}
    assert len(items) == 3 * 2 * 300
    # A row that looks at no seed is the same for each.
    careful = records[(records.method == "quickstart-careful") & (records.metric == "correct")]
    assert careful.groupby("seed").value.mean().nunique() == 1
    accuracy = board[(board.method == "quickstart-careful") & (board.metric == "accuracy")].iloc[0]
    assert accuracy.value == careful.value.mean()
    assert accuracy.low < accuracy.value < accuracy.high
    assert bw.open_run(run.folder).records().equals(records)
    # A run speaks of its own cells, whatever else is in the folder.
    short = bw.run("task:quickstart-grade", "quickstart-careful", limit=5, executor="inline")
    assert set(short.items().groupby("method").size()) == {5}
    assert set(short.leaderboard().table) == {"quickstart-grade"}
    assert len(bw.open_run(run.folder).cells()) == 6 + 3
    for wrong in ({"limit": "x"}, {"limit": 0}, {"seeds": "01"}, {"seeds": []}, {"device": "gpu"}):
        with pytest.raises(bw.BenchwrightError, match=r"got|expected"):
            bw.run("quickstart", **wrong)


HEAVY = ("torch", "transformers", "timm", "pandas", "scipy", "lm_eval", "evaluate", "datasets", "sklearn", "cv2", "PIL")
HEAVY += ("pyarrow", "rapidfuzz", "datasketch", "openai")


def loaded(code: str, environment: Mapping[str, str]) -> set[str]:
    """Heavy modules that a piece of code imports."""
    probe = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", probe], env=dict(environment), capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_light_commands_import_nothing_heavy(environment: Mapping[str, str], folder: Path) -> None:
    start = "from benchwright.cli.app import app\n"
    shipped = str(Path(bw.__file__).parents[1] / "specs")
    commands = (
        "--help",
        "list",
        f"validate {shipped}",
        "show ft-m --resolved",
        "plan quickstart",
        "new method x",
        "schema",
    )
    for words in commands:
        assert loaded(f"{start}app({words.split()!r}, standalone_mode=False)", environment) == set(), words
    assert loaded("import benchwright", environment) == set()


def test_a_pipeline_without_a_model_imports_none(environment: Mapping[str, str], folder: Path) -> None:
    (folder / "rows.jsonl").write_text('{"instruction": "Name a bird of the sea.", "output": "A gull."}\n')
    words = ["instruct", "run", "curate", "--in", str(folder / "rows.jsonl"), "--out", str(folder / "kept.jsonl")]
    code = f"from benchwright.cli.app import app\napp({words!r}, standalone_mode=False)"
    assert loaded(code, environment) == {"rapidfuzz"}


def test_grading_published_predictions_imports_no_torch(environment: Mapping[str, str], folder: Path) -> None:
    code = "import benchwright as bw\nbw.run('task:quickstart-grade', 'quickstart-careful', executor='inline')"
    assert loaded(code, environment) == set()
