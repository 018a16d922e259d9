"""Which cells there are, what identifies them, and why they would run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import benchwright as bw
from benchwright.api import library
from benchwright.differences import differences
from benchwright.errors import DataError, SpecError, UsageError
from benchwright.plan import Options, PlannedCell, explain, plan, shard


def cells(*targets: str, **options: Any) -> list[PlannedCell]:
    return list(plan(library(), targets, Options(**options)).cells)


def by_method(found: list[PlannedCell]) -> dict[str, PlannedCell]:
    return {c.method.name: c for c in found if c.task.name == "atlas-small-edit"}


def method(folder: Path, name: str, body: str) -> str:
    file = folder / f"{name}.yaml"
    file.write_text(f"kind: method\nname: {name}\n{body}", encoding="utf-8")
    return str(file)


def test_controls_always_run(folder: Path) -> None:
    found = cells("task:atlas-small-edit", "ft-m", model="atlas-small")
    assert [c.method.name for c in found] == ["unedited", "gold-in-context", "ft-m"]


def test_only_learners_need_a_file_to_learn_from_and_stand_in_the_same_table(folder: Path) -> None:
    """`rome` is planned without it; `mend` names what is missing, and with it is compared with the others."""
    record = {"prompt": "p", "target_new": "t", "subject": "s"}
    files = {name: folder / f"{name}.json" for name in ("mine", "train")}
    files["mine"].write_text(json.dumps([record]), encoding="utf-8")
    (folder / "task.yaml").write_text(
        "kind: task\nname: own\ndata: {type: edit_requests, file: ./mine.json, training_file: ./train.json}\n"
        "protocol: {type: edit}\n",
        encoding="utf-8",
    )
    task = str(folder / "task.yaml")
    (rome,) = cells(task, "rome", model="atlas-small")
    assert set(rome.files["task"]) == {"data.file"}
    with pytest.raises(DataError, match=r"task\.yaml:3:.* data\.training_file: no file .*train\.json"):
        cells(task, "mend", model="atlas-small")
    found = []
    for subject in ("u", "v"):
        files["train"].write_text(json.dumps([{**record, "subject": subject}]), encoding="utf-8")
        found += cells(task, "rome", "mend", model="atlas-small")
    assert len({c.comparable for c in found}) == 1
    # What a learner reads is part of it, and of nobody else.
    assert [len({c.id for c in found if c.method.name == name}) for name in ("rome", "mend")] == [1, 2]
    assert set(found[1].files["learned"]) == {"data.training_file"}


def test_a_model_that_a_method_brings_along_is_part_of_the_method(folder: Path) -> None:
    body = "algorithm:\n  type: pipeline\n  stages: [{type: perplexity}]\n  models: {scorer: %s}\n"
    mine = method(folder, "mine", body % "stories260k")
    other = method(folder, "other", body % "atlas-small")
    alone = {c.method.name: c for c in cells("task:planted-small", mine, other)}
    assert {c.comparable for c in alone.values()} == {alone["random-half"].comparable}
    assert alone["mine"].names == {"task": "planted-small", "method": "mine", "models": {}}
    assert alone["mine"].identity["models"] == {}
    assert list(alone["mine"].identity["method"]["models"]) == ["method.scorer"]
    assert differences(dict(alone["mine"].identity), dict(alone["other"].identity))
    # The task may have a role of the same name, and keeps its own model in it.
    (cell,) = cells("task:intrinsic-likelihood", mine, model="atlas-small")
    assert {role: m["name"] for role, m in cell.job()["models"].items()} == {
        "scorer": "atlas-small",
        "method.scorer": "stories260k",
    }
    assert cell.names["models"] == {"scorer": "atlas-small"}
    with pytest.raises(UsageError, match="method 'self-instruct' needs a model for its role 'writer'"):
        cells("task:generator-truth", "self-instruct")
    wrong = method(folder, "wrong", body % "simulated-writer")
    with pytest.raises(
        UsageError, match="needs a language_model for its role 'scorer'; simulated-writer is a chat_model"
    ):
        cells("task:planted-small", wrong)


def test_a_method_joins_the_blocks_that_it_fits(folder: Path) -> None:
    mine = method(folder, "mine", "extends: ft-m\n")
    found = [c for c in cells("quickstart", mine) if c.method.name == "mine"]
    assert [c.task.name for c in found] == ["atlas-edit", "atlas-lifelong", "forbidden"]
    # A method alone is run beside its rivals in the quickstart.
    assert {c.id for c in cells(mine)} == {c.id for c in cells("quickstart", mine)}


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (["task:atlas-small-edit", "mcf-net"], {"model": "atlas-small"},
         "method 'mcf-net' cannot be run on task 'atlas-small-edit': it yields predictions, the task accepts patch"),
        (["task:quickstart-grade", "ft-m"], {}, "it consumes edit_requests, the task offers train_labels"),
        (["task:atlas-small-edit"], {"model": "atlas-small"}, "needs at least one method"),
        (["knowedit-zsre"], {"data": "quickstart"}, "needs a model for the role 'subject'; give one with --model"),
        (["quickstrt"], {}, "did you mean 'quickstart'?"),
        (["ci"], {"model": "atlas-smal"}, "unknown model 'atlas-smal'; did you mean 'atlas-small'?"),
        (["gate:ci"], {}, "unknown suite or task or method"),
    ],
)  # fmt: skip
def test_impossible_combinations(folder: Path, targets: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        cells(*targets, **options)
    assert message in str(caught.value)


def test_missing_data_says_how_to_get_it(folder: Path) -> None:
    with pytest.raises(DataError, match=r"data\.file: needs the data file ZsRE.*--data DIR .*\nKnowEdit's files"):
        cells("knowedit-zsre", model="atlas-small")
    with pytest.raises(DataError, match="--data nowhere: no such file or folder, and unknown shipped data 'nowhere'"):
        cells("knowedit-zsre", model="atlas-small", data="nowhere")
    with pytest.raises(DataError, match=r"no file .*ZsRE-test-all\.json"):
        cells("knowedit-zsre", model="atlas-small", data="quickstart")


def test_a_file_can_stand_for_the_only_data_file(folder: Path) -> None:
    (folder / "mine.json").write_text("[]", encoding="utf-8")
    assert cells("knowedit-zsre", model="atlas-small", data="mine.json")
    with pytest.raises(DataError, match="this spec reads 2 files; give their folder"):
        cells("eyeq-predictions", data="mine.json")


@pytest.mark.parametrize(
    "options", [{"limit": 3}, {"seeds": (1,)}, {"dtype": "bfloat16"}, {"device": "cuda"}, {"model": "other"}]
)
def test_what_can_change_a_result_changes_the_id(folder: Path, options: dict[str, Any]) -> None:
    (folder / "specs").mkdir()
    model = "kind: model\nname: other\nsource: {type: seeded, seed: 1, layers: 2, width: 64, context: 384}\n"
    (folder / "specs" / "other.yaml").write_text(model, encoding="utf-8")
    before, after = by_method(cells("ci")), by_method(cells("ci", **options))
    assert before["ft-m"].id != after["ft-m"].id


def test_names_titles_and_places_do_not_change_the_identity(folder: Path) -> None:
    model = "kind: model\nname: other\ntitle: T\nsource: {type: world, name: atlas-small}\n"
    (folder / "specs").mkdir()
    (folder / "specs" / "other.yaml").write_text(model, encoding="utf-8")
    known, other = by_method(cells("ci")), by_method(cells("ci", model="other", device="cpu"))
    assert known["unedited"].identity == other["unedited"].identity
    # `for_models` gives ft-m other parameters for a model of another name.
    assert known["ft-m"].identity != other["ft-m"].identity
    # The same thing under two names is two rows.
    assert known["unedited"].id != other["unedited"].id


def test_data_is_known_by_its_content(folder: Path) -> None:
    records = [{"prompt": "a", "subject": "s", "target_new": "t"}]
    ids = []
    for name, content in (("x.json", records), ("y.json", records), ("z.json", records * 2)):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
        ids.append(cells("knowedit-zsre", model="atlas-small", data=name)[0].id)
    assert ids[0] == ids[1] != ids[2]
    # The same file, changed in place: the remembered digest is not believed.
    (folder / "x.json").write_text(json.dumps(records * 3), encoding="utf-8")
    assert cells("knowedit-zsre", model="atlas-small", data="x.json")[0].id not in ids


def test_explain_says_why(folder: Path) -> None:
    mine = method(folder, "mine", "extends: quickstart-careful\n")
    run = bw.run("task:quickstart-grade", mine, out="r", executor="inline")
    done = run.cells()
    assert set(explain(cells("task:quickstart-grade", mine), done).values()) == {""}
    method(folder, "mine", "extends: quickstart-careful\nalgorithm: {file: predictions_hasty.csv}\n")
    reasons = explain(cells("task:quickstart-grade", mine), done)
    assert sorted(filter(None, reasons.values())) == ["data changed (method.algorithm.file)"]
    reasons = explain(cells("task:quickstart-grade", mine, limit=4), done)
    assert "limit none -> 4" in next(r for r in reasons.values() if "data" not in r)
    assert set(explain(cells("task:quickstart-grade", mine, seeds=(7,)), done).values()) == {"new"}


def test_differences_name_the_field() -> None:
    old = {"method": {"layers": [17]}, "models": {"subject": {"weights": "aa"}}, "seed": 0}
    new = {"method": {"layers": [18]}, "models": {"subject": {"weights": "bb"}}, "seed": 0}
    assert differences(old, new) == ["method.layers [17] -> [18]", "weights of subject changed"]


def test_shards_split_whole_groups(folder: Path) -> None:
    found = cells("quickstart")
    parts = [shard(found, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(c.id for part in parts for c in part) == sorted(c.id for c in found)
    groups = [{c.group for c in part} for part in parts]
    assert sum(map(len, groups)) == len(set().union(*groups))
    for text in ("0/3", "4/3", "x", "1"):
        with pytest.raises(UsageError, match="--shard"):
            shard(found, text)


def test_without_a_model_the_method_runs_on_the_device_asked_for(folder: Path) -> None:
    """All rows of a table alike, so that they stay comparable; on a CPU the identity says nothing of it."""
    plain, on_gpu = cells("fundus", seeds=(0,)), cells("fundus", seeds=(0,), device="cuda:1")
    assert {c.device for c in plain} == {"cpu"}
    assert {c.device for c in on_gpu} == {c.job()["device"] for c in on_gpu} == {"cuda:1"}
    assert {json.dumps(c.identity["device"]) for c in plain} == {"{}"}
    assert {c.identity["device"]["method"] for c in on_gpu} == {"cuda"}
    assert len({c.comparable for c in on_gpu}) == 1


def test_what_data_offer_depends_on_the_files_they_name(folder: Path) -> None:
    for name in ("labels.csv", "more.csv"):
        (folder / name).write_text("image,quality\na,0\n", encoding="utf-8")
    (folder / "pictures").mkdir()

    def problem(data: str, of_method: str) -> str:
        named = f"data: {{type: graded_images, labels: labels.csv{data}}}"
        text = f"kind: task\nname: mine\n{named}\nprotocol: {{type: grade}}\n"
        (folder / "mine.yaml").write_text(text, encoding="utf-8")
        try:
            cells("mine.yaml", of_method, data=str(folder))
        except UsageError as error:
            return str(error)
        return ""

    assert "consumes train_labels, the task offers nothing" in problem("", "majority-class")
    assert problem(", train: more.csv", "majority-class") == ""
    assert "consumes images, train_images, the task offers train_labels" in problem(", train: more.csv", "tiny-rgb")
    assert problem(", train: more.csv, images: pictures", "tiny-rgb") == ""
    with pytest.raises(DataError, match=r"no folder .*pitures"):
        problem(", train: more.csv, images: pitures", "tiny-rgb")


def test_a_folder_of_data_is_known_by_its_files(folder: Path) -> None:
    (folder / "pictures").mkdir()
    for name in ("labels.csv", "more.csv"):
        (folder / name).write_text("image,quality\na,0\n", encoding="utf-8")
    task = (
        "kind: task\nname: mine\ndata: {type: graded_images, labels: labels.csv, train: more.csv, images: pictures}\n"
    )
    (folder / "mine.yaml").write_text(task + "protocol: {type: grade}\n", encoding="utf-8")

    def of_folder() -> str:
        (cell,) = cells("mine.yaml", "majority-class", data=str(folder))
        return str(cell.identity["data"]["task"]["data.images"])

    (folder / "pictures" / "a.png").write_bytes(b"1")
    first = of_folder()
    (folder / "pictures" / ".DS_Store").write_bytes(b"x")
    assert of_folder() == first
    (folder / "pictures" / "a.png").write_bytes(b"22")
    second = of_folder()
    (folder / "pictures" / "a.png").rename(folder / "pictures" / "b.png")
    assert len({first, second, of_folder()}) == 3


def test_data_comes_from_the_hub_only_when_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(repository: str, **options: Any) -> str:
        asked.append((repository, options))
        if len(asked) > 1:
            raise OSError("no network")
        (folder / "benchmark" / "ZsRE").mkdir(parents=True)
        (folder / "benchmark" / "ZsRE" / "ZsRE-test-all.json").write_text("[]", encoding="utf-8")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    (cell, *_) = cells("knowedit-zsre", model="atlas-small", data="hub")
    assert cell.files["task"]["data.file"] == folder / "benchmark" / "ZsRE" / "ZsRE-test-all.json"
    file = "benchmark/ZsRE/ZsRE-test-all.json"
    expected = {"repo_type": "dataset", "revision": "main", "allow_patterns": [file, f"{file}/*"]}
    assert asked == [("zjunlp/KnowEdit", expected)]
    with pytest.raises(DataError, match=f"the hub cannot be asked .OSError: no network.; download {file} elsewhere"):
        cells("knowedit-zsre", model="atlas-small", data="hub")
    with pytest.raises(DataError, match="--data hub: no such file or folder"):
        cells("eyeq-predictions", data="hub")


def test_an_edited_model_is_edited_as_its_base_is(folder: Path) -> None:
    source = "{type: edited, base: atlas-small, method: ft-m, task: atlas-small-edit}"
    (folder / "specs").mkdir()
    (folder / "specs" / "after.yaml").write_text(f"kind: model\nname: after\nsource: {source}\n", encoding="utf-8")
    again = source.replace("base: atlas-small", "base: after")
    (folder / "later.yaml").write_text(f"kind: model\nname: later\nsource: {again}\n", encoding="utf-8")
    plain = by_method(cells("task:atlas-small-edit", "rome", model="atlas-small"))
    for model in ("after", "later.yaml"):
        found = by_method(cells("task:atlas-small-edit", "rome", model=model))
        assert found["rome"].method.spec == plain["rome"].method.spec
        assert found["rome"].id != plain["rome"].id
    with pytest.raises(UsageError, match=r"--model none.yaml: no such file"):
        cells("task:atlas-small-edit", "rome", model="none.yaml")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{type: edited, base: atlas-smal, method: ft-m, task: atlas-edit}", "source.base: unknown model 'atlas-smal'"),
        ("{type: edited, base: atlas, method: ft-n, task: atlas-edit}", "source.method: unknown method 'ft-n'"),
        ("{type: edited, base: atlas, method: ft-m, task: atlas-edits}", "source.task: unknown task 'atlas-edits'"),
    ],
)
def test_the_names_of_an_edited_model_are_checked(folder: Path, source: str, message: str) -> None:
    (folder / "m.yaml").write_text(f"kind: model\nname: m\nsource: {source}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        bw.validate(folder / "m.yaml")
