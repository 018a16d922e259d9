"""Label and prediction files: what is usable is used, what is not is told of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchwright.adapters.iqa.labels import (
    Columns,
    by_stem,
    class_index,
    column_of,
    patient_of,
    read_labels,
    read_predictions,
    score,
)
from benchwright.errors import DataError

COLUMNS = Columns("image", "quality", ("DR_grade",), "(.+)_(?:left|right)")
CLASSES = ("Good", "Usable", "Reject")


def written(folder: Path, text: str, name: str = "labels.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_labels_patients_and_groups(tmp_path: Path) -> None:
    file = written(tmp_path, ",image,quality,DR_grade\n0,1_left.jpeg,0,3\n1,1_right.jpeg,2,0\n")
    images = read_labels(COLUMNS, file, class_index(()))
    assert images.names == ("1_left.jpeg", "1_right.jpeg")
    assert images.labels.tolist() == [0, 2]
    assert images.patients == ("1", "1")
    assert [g["DR_grade"] for g in images.groups] == ["3", "0"]
    assert images.problems == ()


def test_a_bad_row_costs_no_other(tmp_path: Path) -> None:
    rows = ["1_left,0,0", "2_left,,0", "3_left,x,0", "4_left,1,0", "4_left,1,0", "5_left,1,0", "5_left,2,0", ",1,0"]
    images = read_labels(COLUMNS, written(tmp_path, "image,quality,DR_grade\n" + "\n".join(rows)), class_index(()))
    assert images.names == ("1_left", "4_left")
    assert set(images.left_out) == {"2_left", "3_left", "5_left"}
    assert images.left_out["2_left"] == "no label"
    assert [p.split(":")[1] for p in images.problems] == ["3", "4", "6", "8", "9"]
    assert "expected a class index" in images.problems[1]
    assert "in line 5" in images.problems[2]


def test_a_row_without_a_label_takes_nothing_from_one_that_has_it(tmp_path: Path) -> None:
    images = read_labels(COLUMNS, written(tmp_path, "image,quality,DR_grade\n1_left,0,0\n1_left,,0\n"), class_index(()))
    assert images.names == ("1_left",)
    assert not images.left_out
    assert len(images.problems) == 1


def test_named_labels_may_run_backwards(tmp_path: Path) -> None:
    """As in EyeQ-D and DeepDRiD, where the larger number is the better image."""
    file = written(tmp_path, "image,quality,DR_grade\n1_left,2,0\n2_left,0,0\n3_left,good,0\n")
    images = read_labels(COLUMNS, file, class_index(("2", "1", "0")))
    assert images.labels.tolist() == [0, 2]
    assert "expected one of 2, 1, 0" in images.left_out["3_left"]


def test_scores(tmp_path: Path) -> None:
    images = read_labels(Columns("image", "mos"), written(tmp_path, "image,mos\na,71.5\nb,nan\nc,3\n"), score)
    assert images.labels.tolist() == [71.5, 3.0]
    assert set(images.left_out) == {"b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,qualty,DR_grade\n", "labels.csv:1: no column 'quality'; did you mean 'qualty'?"),
        ("image,quality,DR_grade\n", "no usable row after the header"),
        ("image,quality,quality,DR_grade\n", "several columns are called 'quality'"),
        ("image,quality,DR_grade\nnobody,1,0\n", "labels.csv:2: image 'nobody' does not match the pattern"),
    ],
)
def test_a_file_that_is_unusable_as_a_whole(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        read_labels(COLUMNS, written(tmp_path, text), class_index(()))


def test_predictions(tmp_path: Path) -> None:
    rows = ["a,.1,.2,.7", "b,.5,.5,.5", "c,1.2,0,0", "d,x,0,0", "e,0,0,0", "a,.1,.2,.7", "b,.5,.4,.1", "f,.2,.2,.6"]
    file = written(tmp_path, "image,Good,Usable,Reject\n" + "\n".join(rows), "p.csv")
    read = read_predictions(file, "image", CLASSES)
    assert set(read.values) == {"a", "f"}
    np.testing.assert_array_equal(read.values["a"], [0.1, 0.2, 0.7])
    lines = [p.split(":")[1] for p in read.problems]
    assert lines == ["4", "5", "6", "7", "8"]
    assert "expected a probability between 0 and 1" in read.problems[0]
    assert "no probability is above 0" in read.problems[2]


def test_probabilities_that_do_not_sum_to_one_are_told_of_once(tmp_path: Path) -> None:
    file = written(tmp_path, "image,Good,Usable,Reject\na,.9,.9,.1\nb,.2,.2,.2\nc,.2,.2,.6\n", "p.csv")
    (problem,) = read_predictions(file, "image", CLASSES).problems
    assert "2 images do not sum to one (0.600 to 1.900)" in problem


def test_the_column_is_found(tmp_path: Path) -> None:
    file = written(tmp_path, ",image_name,Good\n")
    assert column_of(file, ("image", "image_name")) == "image_name"
    with pytest.raises(DataError, match="none of the columns image, name; it has"):
        column_of(file, ("image", "name"))


def test_a_patient_is_found_in_the_file_s_name_first() -> None:
    """Else one patient would be two, in the folders of two classes, and could be in two splits."""
    assert patient_of("(.+)_[LR]", "Good/p000_R.png") == patient_of("(.+)_[LR]", "Reject/p000_L.png") == "p000"
    assert patient_of(r"(\w+)/", "p7/eye.png") == "p7"
    assert patient_of(None, "a/b.png") == "a/b.png"


def test_answers_find_their_image_by_its_stem() -> None:
    one, two = np.array([1.0]), np.array([2.0])
    names = ["1_left.jpeg", "2_left.jpeg", "a/3.png", "b/3.png"]
    assert by_stem({"test/1_left.png": one, "2_left": two}, names) == {"1_left.jpeg": one, "2_left.jpeg": two}
    # Two images of one stem are not guessed, and a name that fits exactly stays.
    assert set(by_stem({"3.jpg": one}, names)) == {"3.jpg"}
    assert by_stem({"1_left.jpeg": one, "1_left.png": two}, names)["1_left.jpeg"] is one


@pytest.mark.parametrize(
    ("text", "message"),
    [("image;quality;DR_grade\n", "separated by semicolons"), ("image\tquality\n", "by tabs"), ("", "is empty")],
)
def test_files_that_are_no_csv(tmp_path: Path, text: str, message: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(DataError, match=message):
        read_labels(COLUMNS, file, class_index(()))
    with pytest.raises(DataError, match=message):
        column_of(file, ("image",))


def test_whole_numbers_of_a_table_with_gaps(tmp_path: Path) -> None:
    file = written(tmp_path, "image,quality,DR_grade\n1_left,1.0,0\n2_left,,0\n3_left,1.5,0\n")
    assert read_labels(COLUMNS, file, class_index(())).labels.tolist() == [1]
