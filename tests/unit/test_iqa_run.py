"""The protocols of image quality, and what learners share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from iqa_fixtures import eyeq_folder, picture

import benchwright as bw
from benchwright.adapters.iqa.items import Answers, Grading, Images
from benchwright.adapters.iqa.localisation import localisation_auc
from benchwright.adapters.iqa.params import Grade
from benchwright.adapters.iqa.run import grade
from benchwright.artifacts import ArtifactStore
from benchwright.errors import DataError
from benchwright.job import Job, Part
from benchwright.store import Cell


class _Method:
    def __init__(self, answers: Answers) -> None:
        self.algorithm = self
        self.given = answers

    def answers(self, grading: Grading, classes: tuple[str, ...], job: Job) -> Answers:
        return self.given


class _Task:
    def __init__(self, grading: Grading) -> None:
        self.data = self
        self.grading = grading

    def load(self, files: Any, limit: int | None) -> Grading:
        return self.grading


def job_of(grading: Grading, answers: Answers, tmp_path: Path) -> Job:
    return Job(_Task(grading), _Method(answers), 0, None, {}, {}, {}, ArtifactStore(tmp_path))  # type: ignore[arg-type]


def images(labels: list[int], **fields: Any) -> Images:
    names = tuple(f"i{n}" for n in range(len(labels)))
    return Images(names, np.array(labels), names, tuple({"site": n % 2} for n in range(len(labels))), **fields)


def one_hot(*classes: int) -> dict[str, np.ndarray]:
    return {f"i{n}": np.eye(3)[c] for n, c in enumerate(classes)}


def graded(protocol: Grade, grading: Grading, answers: Answers, tmp_path: Path) -> tuple[Part, dict[str, float]]:
    (part,) = grade(protocol, job_of(grading, answers, tmp_path))
    cell = Cell({"id": "x", "metrics": [m.to_json() for m in protocol.metrics()]}, part.records, part.items)
    values = {}
    for metric in protocol.metrics():
        for at, sample in cell.samples(metric).items():
            values[metric.id + "".join(f"={v}" for _, v in at)] = float(metric.value(sample.columns)[0])
    return part, values


def test_known_answers(tmp_path: Path) -> None:
    protocol = Grade(type="grade", by=("site",))
    part, values = graded(protocol, Grading(images([0, 1, 2, 2])), Answers(one_hot(0, 1, 2, 0)), tmp_path)
    assert values["accuracy"] == 0.75
    assert values["accuracy_by_site=0"] == 1.0
    assert values["accuracy_by_site=1"] == 0.5
    assert values["expected_cost"] == 0.25  # one decision two steps off of two, in four
    assert part.exhibits["confusion"]["values"] == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]


def test_costs_are_the_task_s(tmp_path: Path) -> None:
    """Calling a bad image good is worse than the other way round."""
    costs = ((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (10.0, 1.0, 0.0))
    protocol = Grade(type="grade", costs=costs)
    for answered, cost in ((one_hot(2, 2), 0.5), (one_hot(0, 0), 5.0)):
        _, values = graded(protocol, Grading(images([0, 2])), Answers(answered), tmp_path)
        assert values["expected_cost"] == cost
    with pytest.raises(ValueError, match="costs must be 3 rows of 3 numbers"):
        Grade(type="grade", costs=((0.0, 1.0), (1.0, 0.0)))


def test_images_without_an_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    split = images([0, 1, 2], left_out={"broken": "no picture"}, problems=("broken: no picture; left out",))
    answers = Answers({k: v for k, v in one_hot(0, 1, 0).items() if k != "i2"}, ("i2: cannot be read",))
    part, values = graded(Grade(type="grade"), Grading(split), answers, tmp_path)
    assert values["accuracy"] == 1.0
    skipped = {row["item"]: row["skipped"] for row in part.items if "skipped" in row}
    assert skipped == {"broken": "no picture", "i2": "no prediction for this image"}
    assert "1 of 3 images have no prediction; scores are of the others" in part.warnings
    with pytest.raises(DataError, match="predicts none of the task's images"):
        graded(Grade(type="grade"), Grading(split), Answers({"other": np.eye(3)[0]}), tmp_path)


def test_many_warnings_are_cut(tmp_path: Path) -> None:
    split = images([0], problems=tuple(f"line {n}" for n in range(8)))
    part, _ = graded(Grade(type="grade"), Grading(split), Answers(one_hot(0)), tmp_path)
    assert part.warnings == ["line 0", "line 1", "line 2", "line 3", "line 4", "… and 3 more like these"]


@pytest.mark.parametrize(
    ("protocol", "grading", "message"),
    [
        (
            Grade(type="grade"),
            Grading(images([3])),
            r"label 3 found \(image 'i0'\); the task has 3 classes.*label_names",
        ),
        (Grade(type="grade", by=("place",)), Grading(images([0])), "`by: place` is not among the attributes .*site"),
        (Grade(type="grade", sweep=True), Grading(images([0])), "the data has no sweep"),
    ],
)
def test_data_that_do_not_fit_the_protocol(protocol: Grade, grading: Grading, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        graded(protocol, grading, Answers(one_hot(0)), tmp_path)


def test_localisation_is_the_auc_of_bad_pixels_inside_the_field_of_view() -> None:
    fov = np.ones((10, 10), bool)
    fov[:, 8:] = False
    quality = np.ones((10, 10), np.float32)
    quality[:3] = 0.1
    quality[:, 8:] = 0.0  # outside, and so of no account
    where = (quality < 0.5).astype(np.float32)
    assert localisation_auc(where, quality, fov) == 1.0
    assert localisation_auc(1 - where, quality, fov) == 0.0
    assert localisation_auc(np.full((10, 10), 0.3, np.float32), quality, fov) == 0.5
    assert localisation_auc(where, np.ones((10, 10), np.float32), fov) is None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> bw.Run:
    folder = tmp_path_factory.mktemp("specs")
    (folder / "quick.yaml").write_text(
        "kind: method\nname: quick\nextends: salstruct-single-small\nalgorithm: {size: 64, recipe: {epochs: 2}}\n"
    )
    return bw.run("task:fundus-small", "features-lr", "quick", specs=[folder], out=folder / "run", limit=20)


def test_a_world_s_cell_has_a_sweep_costs_and_pictures(world: bw.Run) -> None:
    cells = {cell.method: cell for cell in world.cells()}
    assert {c.meta["status"] for c in cells.values()} == {"ok"}
    quick = cells["quick"]
    assert quick.meta["cost"]["parameters"] == 79_763
    assert {"macs", "latency_ms", "train_cpu_s"} <= set(quick.meta["cost"])
    titles = [str(e["title"]) for e in quick.exhibits()]
    assert any("large structures, tiny structures" in t for t in titles)
    assert any("Robustness" in t for t in titles)
    by = {m.id: m for m in quick.metrics}
    steps = quick.samples(by["sweep_correct_by_step"])
    assert len(steps) == 4 * 3
    (all_steps,) = quick.samples(by["robustness"]).values()
    assert len(all_steps.items) == 4 * 3 * 2
    assert "localisation_auc" in {r["metric"] for r in quick.records}
    assert "localisation_auc" not in {r["metric"] for r in cells["features-lr"].records}


def test_what_was_learned_is_not_learned_again(world: bw.Run, tmp_path: Path) -> None:
    """The same spec, seed and pictures in another run: the artifact, with the cost that it had."""
    again = bw.run("task:fundus-small", "features-lr", out=tmp_path / "again", limit=20)
    ours, theirs = (next(c for c in run.cells() if c.method == "features-lr") for run in (again, world))
    assert ours.records == theirs.records
    assert ours.meta["cost"]["train_cpu_s"] == theirs.meta["cost"]["train_cpu_s"]


def test_scores_against_ratings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, n in (("train", 24), ("test", 10)):
        rows = ["image,mos"]
        for i in range(n):
            haze = float(rng.random())
            picture(tmp_path / "images" / f"{split}{i}.png", i if split == "train" else 100 + i, haze)
            rows.append(f"{split}{i}.png,{100 * (1 - haze)}")
        (tmp_path / f"{split}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    small = "{size: 64, backbone: {name: tiny_cnn, pretrained: false}, recipe: {epochs: 2}}"
    (tmp_path / "quick.yaml").write_text(
        f"kind: method\nname: quick\nextends: resnet18-rating\nalgorithm: {small}\n", encoding="utf-8"
    )
    run = bw.run("task:fqs", "features-ridge", str(tmp_path / "quick.yaml"), data=tmp_path, out=tmp_path / "run")
    values = {c.method: c for c in run.cells()}
    ridge = values["features-ridge"]
    by = {m.id: float(m.value(s.columns)[0]) for m in ridge.metrics for s in ridge.samples(m).values()}
    assert by["spearman"] > 0.6
    assert by["rmse"] < 25
    assert values["quick"].meta["status"] == "ok"


def test_images_of_a_list_from_end_to_end(tmp_path: Path) -> None:
    run = bw.run("task:eyeq", "features-forest", data=eyeq_folder(tmp_path / "eyeq"), out=tmp_path / "run")
    (cell,) = [c for c in run.cells() if c.method == "features-forest"]
    assert cell.meta["status"] == "ok", cell.meta["error"]
    accuracy = next(m for m in cell.metrics if m.id == "accuracy")
    (sample,) = cell.samples(accuracy).values()
    assert accuracy.value(sample.columns)[0] > 0.9
    assert len(set(sample.clusters)) == 12
