"""`benchwright iqa`: train, predict, score; and what a mistake gets."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from iqa_fixtures import eyeq_folder, uniform
from typer.testing import CliRunner

from benchwright.adapters.iqa.checkpoint import Checkpoint
from benchwright.cli.app import app
from benchwright.errors import BenchwrightError, DataError


def iqa(*words: object) -> Result:
    return CliRunner().invoke(app, ["iqa", *map(str, words)])


def failed(*words: object) -> str:
    """The message of a command that must end in a user's error."""
    result = iqa(*words)
    assert isinstance(result.exception, BenchwrightError), result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def eyeq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return eyeq_folder(tmp_path_factory.mktemp("eyeq"))


@pytest.fixture(scope="module")
def checkpoint(eyeq: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("checkpoint") / "forest"
    result = iqa("train", "--method", "features-forest", "--task", "eyeq", "--data", eyeq, "--out", out)
    assert result.exit_code == 0, result.output
    return out


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_train_then_predict_from_a_list_then_score(eyeq: Path, checkpoint: Path, tmp_path: Path) -> None:
    labels, out = eyeq / "Label_EyeQ_test.csv", tmp_path / "p.csv"
    result = iqa("predict", labels, "--images", eyeq / "test", "--method", checkpoint, "--out", out)
    assert result.exit_code == 0, result.output
    rows = rows_of(out)
    assert [r["image"] for r in rows] == [r["image"] for r in rows_of(labels)]
    assert set(rows[0]) == {"image", "Good", "Usable", "Reject"}
    scored = iqa("score", out, "--labels", labels, "--json")
    found = json.loads(scored.output)
    assert found["n"] == 24
    assert found["accuracy"] > 0.9
    assert found["patients"] == 12
    assert found["by_DR_grade"]["0"]["n"] == 12
    assert found["recall_per_class"][0] == pytest.approx(found["confusion_rows_true_cols_pred"][0][0] / 12)
    assert found["interval95"]["accuracy"][0] <= found["accuracy"] <= found["interval95"]["accuracy"][1]
    assert "macro f1" in iqa("score", out, "--labels", labels).output


def test_predict_from_a_folder_keeps_what_can_be_graded(eyeq: Path, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    whole = (eyeq / "test" / "12_left.png").read_bytes()
    (folder / "good.png").write_bytes(whole)
    (folder / "cut.png").write_bytes(whole[:200])
    uniform(folder / "grey.png", 128)
    result = iqa("predict", folder, "--method", checkpoint, "--out", tmp_path / "p.csv")
    assert result.exit_code == 0
    assert [r["image"] for r in rows_of(tmp_path / "p.csv")] == ["good.png"]
    assert "1 of 3 pictures" in result.output
    assert "cut.png" in result.output
    assert "grey.png" in result.output
    assert iqa("predict", folder, "--method", checkpoint, "--crop", "none", "--out", tmp_path / "n.csv").exit_code == 0
    assert len(rows_of(tmp_path / "n.csv")) == 2


def test_a_checkpoint_gives_the_same_answers_anywhere(eyeq: Path, checkpoint: Path, tmp_path: Path) -> None:
    files = [tmp_path / "1.csv", tmp_path / "2.csv"]
    iqa("predict", eyeq / "test", "--method", checkpoint, "--out", files[0])
    iqa("predict", eyeq / "test", "--method", "features-forest", "--task", "eyeq", "--data", eyeq, "--out", files[1])
    assert files[0].read_bytes() == files[1].read_bytes()
    one = eyeq / "test" / "12_left.png"
    iqa("predict", one, "--method", checkpoint, "--out", tmp_path / "one.csv")
    (row,) = rows_of(tmp_path / "one.csv")
    assert row == next(r for r in rows_of(files[0]) if r["image"] == "12_left.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a | {"seed": 5}, "was made by another spec"),
        (
            lambda a: a | {"method": {**a["method"], "algorithm": {**a["method"]["algorithm"], "size": 64}}},
            "another spec",
        ),
        (lambda a: a | {"kind": "table"}, "expected an iqa-checkpoint"),
        (lambda a: {"format": 1}, "the checkpoint is damaged"),
    ],
)
def test_a_checkpoint_of_another_spec_is_refused(checkpoint: Path, tmp_path: Path, change: Any, message: str) -> None:
    about = json.loads((checkpoint / "checkpoint.json").read_text(encoding="utf-8"))
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "checkpoint.json").write_text(json.dumps(change(about)), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        Checkpoint.load(tmp_path)


@pytest.mark.parametrize("missing", ["checkpoint.json", "learned.safetensors"])
def test_a_checkpoint_with_a_file_missing(checkpoint: Path, tmp_path: Path, missing: str) -> None:
    for file in checkpoint.iterdir():
        if file.name != missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DataError, match=f"is no checkpoint, it has no {missing}"):
        Checkpoint.load(tmp_path)


def test_a_file_is_not_written_over(eyeq: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    out.write_text("mine", encoding="utf-8")
    asked = ("predict", eyeq / "test", "--method", checkpoint, "--out", out)
    assert "exists; choose another name, or --force" in failed(*asked)
    assert out.read_text(encoding="utf-8") == "mine"
    assert iqa(*asked, "--force").exit_code == 0
    assert len(rows_of(out)) == 24


def test_a_checkpoint_is_what_was_saved(checkpoint: Path, tmp_path: Path) -> None:
    read = Checkpoint.load(checkpoint)
    assert read.classes == ("Good", "Usable", "Reject")
    assert read.learner.type == "features"
    read.save(tmp_path)
    for name, array in Checkpoint.load(tmp_path).learned.items():
        np.testing.assert_array_equal(array, read.learned[name])


def test_a_network_s_checkpoint_answers_as_the_network_does(eyeq: Path, tmp_path: Path) -> None:
    """Weights of every shape come back, also the counters of batch norm, which have none."""
    spec = tmp_path / "net.yaml"
    small = "{size: 64, recipe: {epochs: 1}, branches: [{image: lab, priors: [{type: dark_channel, patch: 5}]}]}"
    spec.write_text(f"kind: method\nname: net\nextends: tiny-rgb\nalgorithm: {small}\n", encoding="utf-8")
    source = ("--method", spec, "--task", "eyeq", "--data", eyeq)
    assert iqa("train", *source, "--out", tmp_path / "net").exit_code == 0
    for method, out in (((*source,), "1.csv"), (("--method", tmp_path / "net"), "2.csv")):
        result = iqa("predict", eyeq / "test", *method, "--out", tmp_path / out)
        assert result.exit_code == 0, result.exception
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


def test_mistakes_are_told(eyeq: Path, checkpoint: Path, tmp_path: Path) -> None:
    labels, out = eyeq / "Label_EyeQ_test.csv", tmp_path / "p.csv"
    assert "did you mean 'features-forest'" in failed("train", "--method", "features-forst", "--out", tmp_path / "c")
    assert "learns nothing from images" in failed("train", "--method", "majority-class", "--out", tmp_path / "c")
    assert "not an empty folder" in failed("train", "--method", "features-lr", "--out", checkpoint)
    assert "--data" in failed("train", "--method", "features-lr", "--task", "eyeq", "--out", tmp_path / "c")
    assert "there is no folder" in failed("predict", eyeq, "--method", checkpoint, "--out", tmp_path / "no" / "p.csv")
    assert "expected field_of_view" in failed("predict", eyeq, "--method", checkpoint, "--crop", "x", "--out", out)
    assert "nowhere" in failed("predict", tmp_path / "nowhere", "--method", checkpoint, "--out", out)
    assert "it has no checkpoint.json" in failed("predict", eyeq / "test", "--method", tmp_path, "--out", out)
    assert "at least two different names" in failed("score", out, "--labels", labels, "--classes", "Good")
    assert "two different names" in failed("score", out, "--labels", labels, "--classes", "Good,Good,Bad")
    assert "has no group" in failed("score", out, "--labels", labels, "--patients", "foo")
    assert "is not a regular expression" in failed("score", out, "--labels", labels, "--patients", "(")
    assert "expected cpu, cuda" in failed("predict", labels, "--method", checkpoint, "--device", "foo", "--out", out)
    assert "not one of the classes" in failed("score", out, "--labels", labels, "--reject", "Bad")
    assert "cannot be read as CSV" in failed("score", out, "--labels", labels)
    out.write_text("image,Good,Usable\n1_left.jpeg,1,0\n", encoding="utf-8")
    assert "no column 'Reject'" in failed("score", out, "--labels", labels)


def test_two_pictures_of_one_name_are_refused(eyeq: Path, checkpoint: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "eye.png").write_bytes((eyeq / "test" / "12_left.png").read_bytes())
    out = tmp_path / "p.csv"
    message = failed("predict", tmp_path / "a", tmp_path / "b", "--method", checkpoint, "--out", out)
    assert "are both called 'eye.png'" in message or "is called 'eye.png' as well" in message
    assert iqa("predict", tmp_path, "--method", checkpoint, "--out", out).exit_code == 0
    assert [r["image"] for r in rows_of(out)] == ["a/eye.png", "b/eye.png"]


def test_what_is_not_defined_is_null_in_json_and_a_dash_in_the_table(tmp_path: Path) -> None:
    """All labels of one class: no AUC, no kappa."""
    (tmp_path / "l.csv").write_text("image,quality\na,0\nb,0\n", encoding="utf-8")
    (tmp_path / "p.csv").write_text("image,Good,Usable,Reject\na,.8,.1,.1\nb,.3,.6,.1\n", encoding="utf-8")
    asked = ("score", tmp_path / "p.csv", "--labels", tmp_path / "l.csv")
    found = json.loads(iqa(*asked, "--json").output, parse_constant=lambda text: pytest.fail(text))
    assert found["accuracy"] == 0.5
    assert found["macro_auc_ovr_raw"] is None
    assert "–" in iqa(*asked).output
    table = iqa(*asked)
    assert table.exit_code == 0
    assert any("macro auc ovr raw" in line and "–" in line for line in table.output.splitlines())
    # One image, so no interval either.
    (tmp_path / "l.csv").write_text("image,quality\na,0\n", encoding="utf-8")
    assert "[–, –]" in iqa(*asked).output


def test_two_files_of_predictions_are_compared_in_pairs(tmp_path: Path) -> None:
    names = [f"{n}_left" for n in range(10)]
    (tmp_path / "l.csv").write_text("image,quality\n" + "".join(f"{n},0\n" for n in names), encoding="utf-8")
    for file, wrong in (("old.csv", range(6)), ("new.csv", range(5, 6))):
        rows = [f"{n},{0.1 if i in wrong else 0.9},{0.8 if i in wrong else 0.1},0.1\n" for i, n in enumerate(names)]
        (tmp_path / file).write_text("image,Good,Usable,Reject\n" + "".join(rows), encoding="utf-8")
    asked = ("score", tmp_path / "new.csv", "--labels", tmp_path / "l.csv", "--against", tmp_path / "old.csv")
    found = json.loads(iqa(*asked, "--json").output)["against"]
    assert (found["only_old_right"], found["only_new_right"], found["n"]) == (0, 5, 10)
    assert found["mcnemar_exact_p"] == 2 / 2**5
    assert found["mcnemar_chi2"] == pytest.approx(4**2 / 5)
    assert found["accuracy"]["gain"] == pytest.approx(0.5)
    assert "McNemar" in iqa(*asked).output


def test_names_of_classes_in_the_labels(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("image,quality\na,good\nb,bad\n", encoding="utf-8")
    (tmp_path / "p.csv").write_text("image,Good,Bad\nx/a.png,.8,.2\nx/b.png,.3,.7\n", encoding="utf-8")
    asked = ("score", tmp_path / "p.csv", "--labels", tmp_path / "l.csv", "--classes", "Good,Bad")
    assert json.loads(iqa(*asked, "--label-names", "good,bad", "--json").output)["accuracy"] == 1.0
    assert "no image is labelled 'reject'" in failed(*asked, "--label-names", "good,reject")
    assert "names 3 labels" in failed(*asked, "--label-names", "good,bad,ugly")


def test_other_column_names_and_two_classes(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("id,grade,site\na,0,x\nb,1,x\nc,1,y\n", encoding="utf-8")
    (tmp_path / "p.csv").write_text("file,Fine,Bad\na,.8,.2\nb,.3,.7\nc,.6,.4\n", encoding="utf-8")
    words = ["--image-column", "id", "--label-column", "grade", "--predictions-image-column", "file"]
    asked = ("score", tmp_path / "p.csv", "--labels", tmp_path / "l.csv", *words, "--classes", "Fine,Bad")
    result = iqa(*asked, "--reject", "Bad", "--by", "site", "--json")
    found = json.loads(result.output)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["binary_bad"]["recall_bad"] == 0.5
    assert found["by_site"]["y"] == {"n": 1, "accuracy": 0.0, "macro_f1": 0.0}
