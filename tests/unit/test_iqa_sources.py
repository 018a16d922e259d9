"""Images from lists, folders, data sets and the embedded world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from iqa_fixtures import SIDE, eyeq_folder, picture, uniform

from benchwright.adapters.iqa.items import Grading
from benchwright.adapters.iqa.pictures import FilePicture, sized
from benchwright.adapters.iqa.sources.params import FundusWorld, GradedImages, ImageDataset, ImageFolders, Sweep
from benchwright.adapters.iqa.sources.splits import part_of
from benchwright.adapters.worlds.fundus import world
from benchwright.artifacts import ArtifactStore
from benchwright.errors import DataError

TWO_EYES = "(.+)_(?:left|right)"


@pytest.fixture(scope="module")
def eyeq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return eyeq_folder(tmp_path_factory.mktemp("eyeq"))


def listed(folder: Path, limit: int | None = None, **fields: Any) -> Grading:
    files = {
        "labels": "Label_EyeQ_test.csv",
        "train": "Label_EyeQ_train.csv",
        "images": "test",
        "train_images": "train",
    }
    spec = GradedImages(type="graded_images", **{**files, "patient_pattern": TWO_EYES, **fields})
    named = {name: getattr(spec, name) for name in files}
    return spec.load({name: folder / str(value) for name, value in named.items() if value}, limit)


def test_eyeq_s_lists_find_their_pictures_and_splits_share_no_patient(eyeq: Path) -> None:
    grading = listed(eyeq)
    assert len(grading.test) == 24
    assert grading.train is not None
    assert len(grading.train) + len(grading.validation) == 24
    assert len(grading.validation) > 0
    sets = [set(s.patients) for s in (grading.test, grading.train, grading.validation)]
    assert not sets[0] & sets[1]
    assert not sets[1] & sets[2]
    assert grading.facts["label_counts"] == {"test": [12, 0, 12], "train": [12, 0, 12]}
    assert len(listed(eyeq, limit=3).test) == 3


def test_without_pictures_nothing_is_split_off_and_no_picture_is_offered(eyeq: Path) -> None:
    grading = listed(eyeq, images=None, train_images=None)
    assert grading.train is not None
    assert len(grading.train) == 24
    assert grading.test.pictures is None
    without = GradedImages(type="graded_images", labels="a.csv", train="b.csv")
    assert without.offers() == {"train_labels"}
    assert GradedImages(type="graded_images", labels="a.csv", images="i").offers() == {"images"}


def test_a_split_is_stable_when_images_are_added() -> None:
    names = [f"p{i}" for i in range(1000)]
    chosen = {n for n in names if part_of(n, "validation") < 0.15}
    assert 100 < len(chosen) < 200
    assert part_of("p1", "validation") != part_of("p1", "test")


def test_a_patient_in_two_splits_is_refused(eyeq: Path, tmp_path: Path) -> None:
    for name in ("test", "train"):
        text = (eyeq / f"Label_EyeQ_{name}.csv").read_text(encoding="utf-8")
        (tmp_path / f"Label_EyeQ_{name}.csv").write_text(text + "99,50_left.jpeg,0,0\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"1 images are also in .*Label_EyeQ_test\.csv, for example 50_left\.jpeg"):
        listed(tmp_path, images=None, train_images=None)


def test_pictures_that_cannot_be_read_cost_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c", "d"):
        picture(tmp_path / "i" / f"{name}.png", ord(name))
    whole = (tmp_path / "i" / "b.png").read_bytes()
    (tmp_path / "i" / "b.png").write_bytes(whole[: len(whole) // 2])
    uniform(tmp_path / "i" / "c.png", 200)
    (tmp_path / "l.csv").write_text("image,quality\na,0\nb,0\nc,1\nd,1\ne,1\n", encoding="utf-8")
    spec = GradedImages(type="graded_images", labels="l.csv", images="i")
    grading = spec.load({"labels": tmp_path / "l.csv", "images": tmp_path / "i"}, None)
    assert grading.test.names == ("a", "b", "c", "d")
    assert grading.test.left_out == {"e": "no picture"}
    store = ArtifactStore(tmp_path / "artifacts")
    pictures = sized(grading.test, 48, store, lambda done, total: None)
    assert pictures.usable.tolist() == [0, 3]
    assert "truncated" in pictures.unusable[1]
    assert str(tmp_path) not in pictures.unusable[1]  # it is kept by the picture's content
    assert "field of view" in pictures.unusable[2]
    assert pictures.rgb.shape == (4, 48, 48, 3)
    monkeypatch.setattr(FilePicture, "read", None)  # the second time nothing is decoded
    again = sized(grading.test, 48, store, lambda done, total: None)
    np.testing.assert_array_equal(again.rgb, pictures.rgb)
    assert again.unusable == pictures.unusable


def test_folders_of_classes(tmp_path: Path) -> None:
    for number in range(20):
        picture(tmp_path / ("Good" if number % 2 else "Bad") / f"x ({number}).png", number)
    spec = ImageFolders(type="image_folders", class_folders=("Good", "Bad"), test_share=0.5)
    grading = spec.load({"folder": tmp_path}, None)
    assert grading.train is not None
    assert len(grading.test) + len(grading.train) + len(grading.validation) == 20
    for images in (grading.test, grading.train):
        assert all(
            (label == 0) == name.startswith("Good/") for name, label in zip(images.names, images.labels, strict=True)
        )
    with pytest.raises(DataError, match="unknown folder 'Godo'; did you mean 'Good'"):
        ImageFolders(type="image_folders", class_folders=("Godo", "Bad")).load({"folder": tmp_path}, None)


def test_folders_with_too_few_images_and_folders_of_one_name(tmp_path: Path) -> None:
    for name in ("Good", "Bad"):
        picture(tmp_path / name / "x.png", 1)
    spec = ImageFolders(type="image_folders", class_folders=("Good", "Bad"), test_share=0.999)
    with pytest.raises(DataError, match=r"2 images are too few for a test share of 0\.999"):
        spec.load({"folder": tmp_path}, None)
    with pytest.raises(ValueError, match="each class needs a name of its own"):
        ImageFolders(type="image_folders", class_folders=("Good", "Good"))
    with pytest.raises(ValueError, match="must differ by a hundredth"):
        Sweep(severities=(0.499, 0.501))


def test_a_limit_takes_images_of_all_classes(tmp_path: Path) -> None:
    for number in range(24):
        picture(tmp_path / ("Good" if number % 2 else "Bad") / f"x ({number}).png", number)
    spec = ImageFolders(type="image_folders", class_folders=("Good", "Bad"), test_share=1.0)
    assert set(spec.load({"folder": tmp_path}, 6).test.labels.tolist()) == {0, 1}


def test_a_hugging_face_data_set(tmp_path: Path) -> None:
    import datasets

    files = []
    for number in range(8):
        files.append(str(tmp_path / "raw" / f"{number}.png"))
        picture(Path(files[-1]), number)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["Good", "Bad"])})
    rows = {"image": files, "label": [0, 1] * 4}
    made = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": made.select(range(6)), "test": made.select(range(6, 8))}).save_to_disk(
        tmp_path / "hf"
    )
    spec = ImageDataset(type="image_dataset", validation_share=0.3)
    grading = spec.load({"folder": tmp_path / "hf"}, None)
    assert grading.train is not None
    assert grading.test.labels.tolist() == [0, 1]
    assert len(grading.train) + len(grading.validation) == 6
    assert grading.test.pictures is not None
    rgb, fov = grading.test.pictures[0].read(SIDE)
    assert rgb.shape == (SIDE, SIDE, 3)
    assert fov.any()
    with pytest.raises(DataError, match="unknown split 'tset'; did you mean 'test'"):
        ImageDataset(type="image_dataset", test="tset").load({"folder": tmp_path / "hf"}, None)
    with pytest.raises(DataError, match="unknown column 'img'"):
        ImageDataset(type="image_dataset", image_column="img").load({"folder": tmp_path / "hf"}, None)


def inverted(eye: world.Sample) -> world.Sample:
    return replace(eye, rgb=255 - eye.rgb, label=2)


def test_a_world_that_is_painted_otherwise_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored one would give the labels of an earlier painting."""
    spec = FundusWorld(type="fundus_world", seed=77, size=64, train=0, validation=0, test=4, sweep=None)
    before = spec.load({}, None).test
    painted = world.sample
    monkeypatch.setattr(world, "sample", lambda *words: inverted(painted(*words)))
    assert spec.load({}, None).test.labels.tolist() == [2] * 4
    monkeypatch.undo()
    assert spec.load({}, None).test.labels.tolist() == before.labels.tolist()


def test_the_world_s_splits_share_no_eye_and_know_their_quality() -> None:
    spec = FundusWorld(
        type="fundus_world", size=64, train=12, validation=4, test=8, sweep=Sweep(eyes=2, severities=(0.0, 1.0))
    )
    grading = spec.load({}, None)
    assert grading.train is not None
    splits = (grading.test, grading.train, grading.validation, grading.sweep)
    assert [len(s) for s in splits] == [8, 12, 4, 2 * 2 * 4]
    patients = [p for s in splits for p in set(s.patients)]
    assert len(patients) == len(set(patients))
    assert set(grading.sweep.patients) == {"eye-3000000", "eye-3000001"}
    assert grading.test.pictures is not None
    assert grading.test.pictures[0].read(32)[0].shape == (32, 32, 3)
    quality = grading.test.pictures[0].quality(64)  # type: ignore[attr-defined]
    assert quality.shape == (64, 64)
    assert 0 <= quality.min() <= quality.max() <= 1
    limited = spec.load({}, 3)
    assert limited.test.names == grading.test.names[:3]
    assert limited.test.labels.tolist() == grading.test.labels[:3].tolist()
    steps = [g["sweep"] for g in grading.sweep.groups]
    assert steps[0] == "illumination 0.00"
    assert steps[-1] == "artefacts 1.00"
