"""Pictures of a cell for the report: confusion, reliability, robustness, examples with what a method sees of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from ...job import Part
from .items import Answers, Images
from .metrics import ECE_BINS, probability_column

Exhibits = dict[str, dict[str, Any]]
SIDE = 112
"""Side of an example, in pixels."""


def confusion(part: Part, classes: tuple[str, ...]) -> Exhibits:
    """Counts, a row for each label and a column for each decision."""
    columns = _columns(part, ("label", "predicted"))
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (columns["label"].astype(int), columns["predicted"].astype(int)), 1)
    title = "Confusion: images by label (rows) and decision (columns)"
    table = {"type": "matrix", "title": title, "rows": list(classes), "columns": list(classes)}
    return {"confusion": {**table, "values": counts.tolist()}}


def reliability(part: Part, classes: tuple[str, ...]) -> Exhibits:
    """Share of right decisions in each bin of the top class's normalised probability."""
    columns = _columns(part, ("correct", *map(probability_column, classes)))
    p = np.stack([columns[probability_column(c)] for c in classes], axis=1)
    confidence = (p / p.sum(axis=1, keepdims=True)).max(axis=1)
    which = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    bins = sorted(set(which.tolist()))
    x = [round(float(confidence[which == b].mean()), 6) for b in bins]
    y = [round(float(columns["correct"][which == b].mean()), 6) for b in bins]
    series = [{"name": "method", "x": x, "y": y}, {"name": "calibrated", "x": [0, 1], "y": [0, 1]}]
    labels = {"x_label": "probability of the decision", "y_label": "share right"}
    return {"reliability": {"type": "curve", "title": "Reliability", **labels, "series": series}}


def robustness(sweep: Images, answers: Answers) -> Exhibits:
    """Accuracy at each severity, a line for each axis of degradation."""
    hits: dict[str, dict[float, list[bool]]] = {}
    for place, name in enumerate(sweep.names):
        axis, _, severity = str(sweep.groups[place]["sweep"]).partition(" ")
        if (p := answers.values.get(name)) is not None:
            hits.setdefault(axis, {}).setdefault(float(severity), []).append(int(np.argmax(p)) == sweep.labels[place])
    if not hits:
        return {}
    series = [
        {"name": axis, "x": sorted(by), "y": [round(float(np.mean(by[s])), 6) for s in sorted(by)]}
        for axis, by in hits.items()
    ]
    labels = {"x_label": "severity", "y_label": "accuracy"}
    return {"robustness": {"type": "curve", "title": "Robustness", **labels, "series": series}}


def examples(images: Images, classes: tuple[str, ...], answers: Answers) -> Exhibits:
    """For each class its first image that has a map: the picture, and where the method saw bad quality."""
    rows = []
    for label in range(len(classes)):
        for place in np.flatnonzero(images.labels == label):
            saliency = answers.saliency.get(images.names[place])
            if saliency is not None and images.pictures is not None:
                rgb, _ = images.pictures[place].read(len(saliency))
                rows.append([rgb, heat(rgb, saliency)])
                break
    title = "One image of each class, and where evidence of bad quality was seen"
    return {"examples": picture_rows(title, rows)} if rows else {}


def heat(rgb: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """The picture, redder where `saliency` (0 to 1) is higher; both of one size."""
    share = 0.7 * saliency[..., None]
    return np.asarray(rgb * (1 - share) + np.array([255, 30, 0]) * share).astype(np.uint8)


def picture_rows(title: str, rows: list[list[np.ndarray]]) -> dict[str, Any]:
    """An exhibit of pictures (of shape (side, side) or (side, side, 3), uint8) side by side."""
    import cv2
    from PIL import Image

    def tile(picture: np.ndarray) -> np.ndarray:
        colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        return np.asarray(cv2.resize(colour, (SIDE, SIDE), interpolation=cv2.INTER_AREA))

    sheet = np.vstack([np.hstack([tile(p) for p in row]) for row in rows])
    stream = BytesIO()
    Image.fromarray(sheet).save(stream, "PNG", optimize=True)
    return {"type": "image", "title": title, "png": base64.b64encode(stream.getvalue()).decode()}


def _columns(part: Part, wanted: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """Recorded columns, in the order of their records, which is that of the images."""
    found: dict[str, list[float]] = {name: [] for name in wanted}
    for row in part.records:
        if row["metric"] in found:
            found[row["metric"]].append(row["value"])
    return {name: np.array(values) for name, values in found.items()}
