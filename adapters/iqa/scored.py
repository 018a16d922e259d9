"""Predictions of anybody's, scored against labels: every metric, with intervals of the first ones."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...artifacts import ArtifactStore, artifact_root
from ...errors import DataError
from ...job import Job, Part
from ...kinds import MethodSpec, TaskSpec
from ...stats import interval
from ...store import Cell
from .labels import column_of
from .methods.published import Predictions
from .paired import paired
from .params import Grade
from .run import grade
from .sources.params import GradedImages

IMAGE_COLUMNS = ("image", "image_name", "file_name", "filename", "name", "image_id")
LABEL_COLUMNS = ("quality", "label", "grade", "class")
GROUP = "DR_grade"
"""EyeQ's column of the grade of diabetic retinopathy."""
TWO_EYES = "(.+)_(?:left|right)"
"""EyeQ's image names: a patient's two eyes."""
WITH_INTERVAL = ("accuracy", "macro_f1")
PER_CLASS = ("precision", "recall", "f1", "specificity")
AUC = ("auc_ovr_raw", "auc_ovr_normalised")


@dataclass(frozen=True)
class Asked:
    """What the command line says; None is found out from the files."""

    predictions: Path
    labels: Path
    classes: tuple[str, ...] = ("Good", "Usable", "Reject")
    reject: str | None = "Reject"
    image_column: str | None = None
    label_column: str | None = None
    predictions_image_column: str | None = None
    by: str | None = None
    patients: str | None = None
    """Regular expression, its first group the patient."""
    against: Path | None = None
    """Other predictions to compare with."""
    label_names: tuple[str, ...] = ()
    """What the label column says for each class; class indices if empty."""


def scored(asked: Asked) -> dict[str, Any]:
    """Every number by name; lists go by class, in order; `against` where other predictions are named.

    Raises DataError.
    """
    data = _data(asked)
    protocol = Grade(type="grade", classes=asked.classes, reject=asked.reject, by=data.group_columns)
    part = _graded(asked.predictions, asked, data, protocol)
    found = _numbers(part, protocol)
    if asked.against is not None:
        other = _graded(asked.against, asked, data, protocol)
        found["against"] = paired(_cell(other, protocol), _cell(part, protocol), protocol.metrics())
    return found


def _graded(predictions: Path, asked: Asked, data: GradedImages, protocol: Grade) -> Part:
    column = asked.predictions_image_column or column_of(predictions, IMAGE_COLUMNS)
    method = Predictions(type="predictions", file=str(predictions), image_column=column)
    job = Job(
        task=TaskSpec(kind="task", name="score", data=data, protocol=protocol),
        method=MethodSpec(kind="method", name="predictions", algorithm=method),
        seed=0,
        limit=None,
        models={},
        fingerprints={},
        files={"data": {"labels": asked.labels}, "algorithm": {"file": predictions}},
        artifacts=ArtifactStore(artifact_root()),
    )
    (part,) = grade(protocol, job)
    return part


def _cell(part: Part, protocol: Grade) -> Cell:
    metrics = [m.to_json() for m in protocol.metrics()]
    return Cell({"id": "score", "status": "ok", "metrics": metrics}, part.records, part.items)


def _data(asked: Asked) -> GradedImages:
    image = asked.image_column or column_of(asked.labels, IMAGE_COLUMNS)
    by = asked.by or (GROUP if _has(asked.labels, GROUP) else None)
    data = GradedImages(
        type="graded_images",
        labels=str(asked.labels),
        image_column=image,
        label_column=asked.label_column or column_of(asked.labels, LABEL_COLUMNS),
        label_names=asked.label_names,
        group_columns=(by,) if by else (),
        patient_pattern=asked.patients,
    )
    if asked.patients is None:
        names = data.load({"labels": asked.labels}, None).test.names
        if all(re.match(TWO_EYES, name) for name in names):
            return data.model_copy(update={"patient_pattern": TWO_EYES})
    return data


def _has(file: Path, column: str) -> bool:
    try:
        return bool(column_of(file, (column,)))
    except DataError as error:
        if "none of the columns" in str(error):
            return False
        raise


def _numbers(part: Part, protocol: Grade) -> dict[str, Any]:
    """Names as in published evaluations of EyeQ; a metric that is not defined is None."""
    classes = protocol.classes
    metrics = protocol.metrics()
    cell = _cell(part, protocol)
    values: dict[str, dict[str, float]] = {}
    for metric in metrics:
        for at, sample in cell.samples(metric).items():
            values.setdefault(metric.id, {})[str(dict(at).get(metric.by, ""))] = float(metric.value(sample.columns)[0])
    plain = {name: by[""] for name, by in values.items() if "" in by}
    found: dict[str, Any] = {
        "n": sum(1 for row in part.items if "skipped" not in row),
        "left_out": sum(1 for row in part.items if "skipped" in row),
        "classes": list(classes),
        "confusion_rows_true_cols_pred": part.exhibits["confusion"]["values"],
    }
    for name, value in plain.items():
        if "." not in name:
            found[name] = value
    found |= {f"{score}_per_class": [plain[f"{score}.{c}"] for c in classes] for score in PER_CLASS}
    found |= {kind: [plain[f"{kind}.{c}"] for c in classes] for kind in AUC}
    found |= {
        name: part.facts[name] for name in ("n_rows_prob_sum_ne_1", "prob_sum_min", "prob_sum_max", "n_argmax_ties")
    }
    if (reject := protocol.reject) is not None:
        found[f"binary_{reject.lower()}"] = {
            "accuracy": plain[f"binary_{reject.lower()}.accuracy"],
            **{f"{score}_{reject.lower()}": plain[f"{score}.{reject}"] for score in PER_CLASS[:3]},
            "auc": plain[f"auc_ovr_normalised.{reject}"],
        }
    for by in protocol.by:
        found[f"by_{by}"] = _by(by, values, part.items)
    shown = [m for m in metrics if m.id in WITH_INTERVAL]
    bounds = {m.id: interval(m, list(cell.samples(m).values())) for m in shown}
    found["interval95"] = {name: [e.low, e.high] for name, e in bounds.items()}
    found["patients"] = next(iter(bounds.values())).clusters
    found["warnings"] = part.warnings
    return {name: _defined(value) for name, value in found.items()}


def _defined(value: Any) -> Any:
    """None for what is not finite, which JSON cannot say."""
    if isinstance(value, dict):
        return {name: _defined(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_defined(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _by(by: str, values: Mapping[str, Mapping[str, float]], items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    groups = sorted(values[f"accuracy_by_{by}"])
    return {
        group: {
            "n": sum(1 for row in items if "skipped" not in row and str(row[by]) == group),
            **{name: values[f"{name}_by_{by}"][group] for name in WITH_INTERVAL},
        }
        for group in groups
    }
