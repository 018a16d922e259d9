"""`benchwright edit`, and models that stay edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

import benchwright as bw
from benchwright.adapters.lm.patch import Patch
from benchwright.cli.app import app
from benchwright.errors import BenchwrightError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    """Three requests on the embedded world, the last two on one fact."""
    from benchwright.adapters.editing.sources.params import WorldEdits

    cases = WorldEdits(type="world_edits", world="atlas-small").load({}, 3)
    rows = [
        {"prompt": c.request.prompt, "subject": c.request.subject, "target_new": c.request.target_new} for c in cases
    ]
    rows[2] = rows[1] | {"target_new": rows[2]["target_new"]}
    rows[0]["rephrase"] = cases[0].rephrases[0]
    file = tmp_path / "requests.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def edit(requests: Path, *words: str, method: str = "ft-m") -> Result:
    fixed = ["edit", "--model", "atlas-small", "--method", method, "--requests", str(requests)]
    return CliRunner().invoke(app, [*fixed, *words], catch_exceptions=True)


def said(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_single_edits_and_their_deltas(requests: Path, tmp_path: Path) -> None:
    found = said(edit(requests, "--json", "--save-delta", "d.safetensors"))
    assert found["metrics"]["reliability.exact"] == {"before": 0.0, "after": 1.0, "n": 3}
    assert found["metrics"]["generalization.exact"]["n"] == 1
    assert [r["case_id"] for r in found["requests"]] == ["0", "1", "2"]
    assert found["spec"]["algorithm"]["type"] == "fine_tune"
    tensors = load_file(tmp_path / "d.safetensors")
    (layer,) = found["spec"]["algorithm"]["parameters"]["layers"]
    assert set(tensors) == {f"{i}/model.layers.{layer}.mlp.down_proj.weight" for i in range(3)}
    assert all(t.abs().sum() > 0 for t in tensors.values())
    table = edit(requests)
    assert table.exit_code == 0
    assert "CPU s an edit" in table.stdout
    assert "reliability.exact" in table.stdout


def test_edits_in_turn_change_one_model_that_is_kept(requests: Path, tmp_path: Path) -> None:
    words = ["--mode", "sequential", "--conflicts", "last", "--json"]
    found = said(edit(requests, *words, "--save-delta", "d.safetensors", "--save-model", "m"))
    assert found["left_out"] == {"contradicts another request": 1}
    assert [r["case_id"] for r in found["requests"]] == ["0", "2"]
    patch = Patch.load(tmp_path / "d.safetensors")
    (name,) = patch.deltas
    assert name.startswith("model.layers.")
    # The saved model is the model that was scored.
    again = CliRunner().invoke(
        app, ["edit", "--model", "m", "--method", "unedited", "--requests", str(requests), "--json"]
    )
    before = {r["case_id"]: r["before"] for r in said(again)["requests"]}
    for row in found["requests"]:
        assert before[row["case_id"]]["reliability.exact"] == row["after"]["reliability.exact"]


def test_what_surrounds_the_weights_is_kept_beside_them(requests: Path, tmp_path: Path) -> None:
    words = ["--mode", "sequential", "--conflicts", "drop", "--json", "--save-delta", "g.safetensors"]
    found = said(edit(requests, *words, method="grace"))
    assert found["metrics"]["reliability.exact"]["after"] == 1.0
    assert any(name.startswith("insert:model.layers.") for name in load_file(tmp_path / "g.safetensors"))
    # A folder holds it too, and is the model that was scored.
    said(edit(requests, *words[:5], "--save-model", "m", method="grace"))
    fixed = ["edit", "--model", "m", "--method", "unedited", "--requests", str(requests), "--json"]
    again = said(CliRunner().invoke(app, fixed))
    # Of the two on one fact the first stands.
    assert [row["before"]["reliability.exact"] for row in again["requests"]] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mode", "sequental"), "unknown --mode 'sequental'; did you mean 'sequential'?"),
        (("--mode", "batch"), "requests 1 and 2 change the same fact"),
        (("--batch-size", "2"), "--batch-size belongs to --mode sequential"),
        (("--save-delta", "no/d.safetensors"), "there is no folder no"),
        (("--save-model", "m"), "--save-model keeps one model; choose --mode sequential or batch"),
        (("--method", "ft-n"), "unknown method 'ft-n'; did you mean 'ft-"),
        (("--method", "mcf-net"), "method 'mcf-net' cannot be used here: it yields predictions"),
        (("--model", "atlas-smal"), "unknown model 'atlas-smal'; did you mean 'atlas-small'?"),
        (("--requests", "nowhere.json"), "--requests nowhere.json: no such file"),
        (("--device", "gpu"), "device: got 'gpu'"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_done(
    requests: Path, words: tuple[str, ...], message: str
) -> None:
    result = edit(requests, *words)
    assert isinstance(result.exception, BenchwrightError)
    assert result.exception.exit_code == 2
    assert message in str(result.exception)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "a b"}, "subject"),
        ({"prompt": "a b", "subject": "a", "target": "c"}, "did you mean 'target_new'?"),
        ({"prompt": "a b", "subject": "x", "target_new": "c"}, "words of the prompt"),
        ({"prompt": "a b", "subject": "a", "target_new": "zebra"}, "none of the 1 requests can be asked"),
    ],
)
def test_bad_requests_name_file_record_and_field(tmp_path: Path, record: dict[str, str], message: str) -> None:
    file = tmp_path / "r.json"
    file.write_text(json.dumps([record]), encoding="utf-8")
    result = edit(file)
    assert isinstance(result.exception, BenchwrightError)
    assert message in str(result.exception)


MODEL = """
kind: model
name: after-{method}-{first}
source: {{type: edited, base: atlas-small, method: {method}, task: atlas-small-edit, first: {first}}}
"""


def test_a_task_on_an_edited_model(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    weights = set()
    for method, first in (("ft-m", 2), ("ice", 2), ("grace", 2), ("ft-m", 1), ("ft-m", 30)):
        text = MODEL.format(method=method, first=first)
        (tmp_path / "specs" / f"{method}-{first}.yaml").write_text(text, encoding="utf-8")
        run = bw.run(
            *("task:atlas-small-edit", "unedited"),
            **{"model": f"after-{method}-{first}", "limit": 4, "out": f"{method}-{first}", "executor": "inline"},
        )
        (cell,) = (c for c in run.cells() if c.method == "unedited")
        if first == 30:
            assert "task atlas-small-edit has 24 requests, the model asks for 30" in cell.meta["error"]["cause"]
            continue
        assert cell.ok, cell.meta["error"]
        found = [r["value"] for r in cell.records if r["metric"] == "reliability.exact"]
        # The first facts are known as edited (by this small model not always from a note); the others are as before.
        assert found[0] == 1.0
        assert sum(found[:first]) == first or method == "ice"
        assert found[first:] == [0.0] * (4 - first)
        weights.add(cell.meta["identity"]["models"]["subject"]["weights"])
    assert len(weights) == 4


def test_half_precision_edits_are_undone_bit_for_bit(requests: Path) -> None:
    found = said(edit(requests, "--json", "--dtype", "bfloat16"))
    assert found["metrics"]["reliability.exact"]["after"] > 0.5
    assert torch.get_default_dtype() == torch.float32
