"""`benchwright detox`, and a whole run on one's own copy of SafeEdit with a classifier."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from detox_fixtures import write_classifier, write_records
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from benchwright.adapters.worlds.shipped import shipped
from benchwright.cli.app import app
from benchwright.errors import BenchwrightError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def detox(*words: str, method: str = "dinm", model: str = "forbidden") -> Result:
    fixed = ["detox", "--model", model, "--method", method]
    return CliRunner().invoke(app, [*fixed, *words], catch_exceptions=True)


def said(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def wrong(result: Result) -> str:
    assert isinstance(result.exception, BenchwrightError), result.exception
    return str(result.exception)


def test_single_instances_their_layers_losses_and_deltas(tmp_path: Path) -> None:
    file = world_records(tmp_path / "mine.json")
    found = said(detox("--requests", str(file), "--json", "--save-delta", "d.safetensors"))
    assert [row["id"] for row in found["instances"]] == ["0", "1", "2"]
    tensors = load_file(tmp_path / "d.safetensors")
    for row in found["instances"]:
        name = f"{row['id']}/model.layers.{row['layer']}.mlp.down_proj.weight"
        assert tensors[name].any() == (len(row["loss"]) > 1)
        assert len(row["distances"][0]) == 4
        assert row["layer"] == max(range(4), key=lambda n: row["distances"][0][n])
        assert row["responses"]["after"]["safe"] <= row["responses"]["before"]["safe"]
    assert found["spec"]["algorithm"]["type"] == "dinm"
    # No text of the file is told.
    assert "xz" not in json.dumps(found["instances"])
    shown = detox("--requests", str(file)).stdout
    assert "NLL before" in shown
    assert "xz" not in shown


def world_records(file: Path) -> Path:
    """Instances of the embedded world, in SafeEdit's form."""
    from benchwright.adapters.detox.sources.params import ForbiddenCases

    names = (
        ("only_q", "test input of only harmful question"),
        ("other_a", "test input of other attack prompt input"),
        ("other_q", "test input of other question input"),
        ("other_aq", "test input of other questions and attack prompts"),
    )
    rows = [
        {
            "id": i,
            "unsafety category": "offensiveness",
            "question": c.inputs["only_q"],
            "adversarial prompt": c.request.prompt,
            "safe generation": c.request.target_new,
            "unsafe generation": c.request.target_true,
            "generalization test": {long: c.inputs[short] for short, long in names},
            "knowledge constrain": dict(zip(("prompt", "answer"), c.request.keep[0], strict=True)),
        }
        for i, c in enumerate(ForbiddenCases(type="forbidden").load({}, 3))
    ]
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def test_a_whole_task_as_a_run_scores_it(tmp_path: Path) -> None:
    found = said(detox("--task", "forbidden-small", "--json", method="sft-mix"))
    ran = CliRunner().invoke(
        app, ["run", "forbidden-small", "sft-mix", "--model", "forbidden", "--out", "run"], catch_exceptions=False
    )
    assert ran.exit_code == 0
    rows = json.loads((tmp_path / "run" / "leaderboard.json").read_text(encoding="utf-8"))
    text = json.dumps(rows)
    for metric in ("dg_avg", "over_refusal", "prefill_ds"):
        assert f'"value": {found["metrics"][metric]["value"]}' in text, metric
    page = detox("--task", "forbidden-small", "--html", "p.html", method="self-reminder")
    assert page.exit_code == 0
    assert "Responses to the first 6 instances" in (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "defense success" in page.stdout
    assert "untouched" in page.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either --task NAME or --requests FILE"),
        (["--task", "forbidden-small", "--requests", "x.json"], "either --task NAME or --requests FILE"),
        (["--task", "forbidden-small", "--save-delta", "d"], "it belongs to --requests"),
        (["--requests", "none.json"], "--requests none.json: no such file"),
        (["--requests", "."], "is a folder; name a file in it"),
        (["--task", "forbiden"], "did you mean 'forbidden'?"),
        (["--task", "atlas-small-edit"], "is no detox task"),
        (["--task", "safeedit-test"], "SafeEdit is gated"),
    ],
)
def test_mistakes_are_told_with_their_remedy(words: list[str], message: str) -> None:
    assert message in wrong(detox(*words))


def test_a_method_that_needs_more_than_single_instances_says_so(tmp_path: Path) -> None:
    file = write_records(tmp_path / "mine.json")
    for method, why in (("sft-mix", "is made once for a model"), ("mend", "needs a training split")):
        assert why in wrong(detox("--requests", str(file), method=method))
    file.write_text('[{"id": 1}]', encoding="utf-8")
    assert "record 0" in wrong(detox("--requests", str(file)))


def write_model(folder: Path) -> Path:
    """The shipped model as a user's folder."""
    shutil.copytree(shipped("forbidden"), folder)
    return folder


def test_safeedit_from_one_s_own_copy_with_a_classifier(tmp_path: Path) -> None:
    data = tmp_path / "safeedit"
    write_classifier(data / "classifier")
    world_records(data / "SafeEdit_test.json")
    write_model(tmp_path / "model")
    (tmp_path / "mine.yaml").write_text(
        "kind: task\nname: mine\nextends: safeedit-test\n"
        "data: {train: null, counts: any}\nprotocol: {new_tokens: 12}\n",
        encoding="utf-8",
    )
    command = ["run", "mine.yaml", "dinm", "--model", "model", "--data", str(data), "--out", "run"]
    ran = CliRunner().invoke(app, command, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    cells = {f.parent.name: json.loads(f.read_text("utf-8")) for f in (tmp_path / "run" / "cells").glob("*/cell.json")}
    assert {(c["method"], c["status"]) for c in cells.values()} == {
        (m, "ok") for m in ("dinm", "unedited", "suffix-only", "refuse-everything")
    }
    # What may not be shown is in no file of the run.
    texts = [text for row in json.loads((data / "SafeEdit_test.json").read_text("utf-8")) for text in flat(row)]
    written = [f.read_text("utf-8") for f in (tmp_path / "run").rglob("*") if f.is_file()]
    for text in texts:
        assert not any(text in file for file in written), text
    # Another classifier is another judge: nothing is taken over, and both are never in one table.
    shutil.rmtree(data / "classifier")
    write_classifier(data / "classifier", pad=True)
    weights = load_file(data / "classifier" / "model.safetensors")
    weights["classifier.bias"] = torch.tensor([1.0, 0.5])
    from safetensors.torch import save_file

    save_file(weights, data / "classifier" / "model.safetensors", metadata={"format": "pt"})
    planned = CliRunner().invoke(
        app, ["plan", "mine.yaml", "dinm", "--model", "model", "--data", str(data), "--out", "run", "--explain"]
    )
    assert "judge" in planned.output


def flat(value: Any) -> list[str]:
    """All texts that a record holds, that are long enough to be recognised."""
    if isinstance(value, dict):
        return [text for child in value.values() for text in flat(child)]
    return [value] if isinstance(value, str) and len(value) > 20 else []


def test_a_detoxified_model_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    source = "source: {type: edited, base: forbidden, method: METHOD, task: forbidden-small}\n"
    for name, method in (("kept", "sft-mix"), ("fixed", "refuse-everything")):
        text = f"kind: model\nname: {name}\n{source.replace('METHOD', method)}"
        (tmp_path / "specs" / f"{name}.yaml").write_text(text, encoding="utf-8")
    made = said(detox("--task", "forbidden-small", "--json", method="sft-mix"))["metrics"]
    kept = said(detox("--task", "forbidden-small", "--json", method="unedited", model="kept"))["metrics"]
    for metric in ("dg_avg", "over_refusal", "prefill_ds", "knowledge"):
        assert kept[metric]["value"] == made[metric]["value"], metric
        assert kept[metric]["before"] == kept[metric]["value"], metric
    # What the untouched model says is what this one says.
    assert kept["locality.exact"]["value"] == 1.0
    assert "way of decoding" in wrong(detox("--task", "forbidden-small", method="unedited", model="fixed"))
