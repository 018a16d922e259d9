"""Every number of the published EyeQ predictions, against an independent computation checked with scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchwright as bw
from benchwright.adapters.iqa.scored import Asked, scored
from benchwright.stats import interval
from benchwright.store import Cell

CLASSES = ("Good", "Usable", "Reject")
BINARY_OF_CLASS = {
    "recall_reject": "recall.Reject",
    "precision_reject": "precision.Reject",
    "f1_reject": "f1.Reject",
}


@pytest.fixture(scope="module")
def run(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> bw.Run:
    out = tmp_path_factory.mktemp("eyeq")
    return bw.run("eyeq-predictions", data=shared / "data" / "eyeq", out=out / "run")


@pytest.fixture(scope="module")
def cell(run: bw.Run) -> Cell:
    return next(c for c in run.cells() if c.method == "mcf-net")


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared / "fixtures" / "iqa" / "eyeq_metrics_expected.json").read_text())
    return found


def values(cell: Cell) -> dict[str, float]:
    """Metric id, with the group for metrics shown apart, to value."""
    return {
        metric.id + "".join(f"={v}" for _, v in at): float(metric.value(sample.columns)[0])
        for metric in cell.metrics
        for at, sample in cell.samples(metric).items()
    }


def numbers(mcf: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The fixture's numbers under our names."""
    for key, value in mcf.items():
        if key.endswith("_per_class") or key in ("auc_ovr_raw", "auc_ovr_normalised"):
            yield from ((f"{key.removesuffix('_per_class')}.{c}", v) for c, v in zip(CLASSES, value, strict=True))
        elif key == "by_DR_grade":
            for grade, row in value.items():
                yield f"accuracy_by_DR_grade={grade}", row["accuracy"]
                yield f"macro_f1_by_DR_grade={grade}", row["macro_f1"]
        elif key == "binary_reject":
            yield "binary_reject.accuracy", value["accuracy"]
            yield "auc_ovr_normalised.Reject", value["auc"]
            yield from ((ours, value[theirs]) for theirs, ours in BINARY_OF_CLASS.items())
        elif isinstance(value, float) and not key.startswith(("_", "prob_sum")):
            yield key, value


def test_every_number_of_the_fixture_to_1e_9(cell: Cell, expected: dict[str, Any]) -> None:
    found, wanted = values(cell), list(numbers(expected["mcf_net"]))
    assert len(wanted) > 50
    for name, value in wanted:
        assert found[name] == pytest.approx(value, abs=1e-9), name


def test_counts_of_the_fixture(cell: Cell, expected: dict[str, Any]) -> None:
    mcf, facts = expected["mcf_net"], cell.meta["facts"]
    assert facts["label_counts"] == {k: expected["label_counts"][k] for k in ("test", "train")}
    assert facts["n_rows_prob_sum_ne_1"] == mcf["n_rows_prob_sum_ne_1"]
    assert facts["n_argmax_ties"] == mcf["n_argmax_ties"]
    assert facts["prob_sum_min"] == pytest.approx(mcf["prob_sum_min"], abs=1e-12)
    assert facts["prob_sum_max"] == pytest.approx(mcf["prob_sum_max"], abs=1e-12)
    (sample,) = cell.samples(next(m for m in cell.metrics if m.id == "macro_f1")).values()
    pairs = sample.columns["label"].astype(int) * 3 + sample.columns["predicted"].astype(int)
    assert np.bincount(pairs).reshape(3, 3).tolist() == mcf["confusion_rows_true_cols_pred"]


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_intervals_contain_those_of_independent_images(cell: Cell, expected: dict[str, Any], name: str) -> None:
    """Ours resample patients, whose two eyes are graded alike, so they are at least as wide (up to 1e-3 of noise)."""
    metric = next(m for m in cell.metrics if m.id == name)
    found = interval(metric, list(cell.samples(metric).values()))
    low, high = expected["mcf_net"]["bootstrap95_seed0_1000"][name]
    assert found.low < low + 1e-3
    assert found.high > high - 1e-3
    assert found.clusters < found.items == 16249


def test_controls_are_worth_what_they_should(run: bw.Run) -> None:
    cells = {c.method: values(c) for c in run.cells()}
    assert cells["majority-class"]["accuracy"] == pytest.approx(8471 / 16249)
    assert cells["majority-class"]["quadratic_weighted_kappa"] == pytest.approx(0)
    assert cells["majority-class"]["macro_auc_ovr_raw"] == 0.5
    assert abs(cells["prior-sampling"]["cohen_kappa"]) < 0.02


def test_the_command_scores_the_published_files_as_they_are(shared: Path, expected: dict[str, Any]) -> None:
    """`benchwright iqa score` gives the fixture's keys and, but for its bootstrap of single images, its numbers."""
    eyeq = shared / "data" / "eyeq"
    found = scored(Asked(eyeq / "mcf_net_test_predictions.csv", eyeq / "Label_EyeQ_test.csv"))
    wanted = {k: v for k, v in expected["mcf_net"].items() if not k.startswith(("_", "bootstrap"))}
    assert len(wanted) > 25
    for key, value in wanted.items():
        assert_close(found[key], value, key)
    assert found["patients"] < found["n"] == 16249


def assert_close(found: Any, wanted: Any, where: str) -> None:
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert_close(found[key], value, f"{where}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for n, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_close(one, other, f"{where}.{n}")
    else:
        assert found == pytest.approx(wanted, abs=1e-9), where
