"""Metrics of quality grading. Names and values agree with scikit-learn to 1e-15 (tests/parity/test_eyeq.py).

"F" alone is ambiguous: published tables mean the mean of F over classes, F of the mean precision and recall, or F
weighted by class. Each has its own name here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from ...metrics import Metric

if TYPE_CHECKING:
    from .params import Grade

SKLEARN = "scikit-learn user guide, Classification metrics"
ECE_BINS = 15


def probability_column(name: str) -> str:
    """Record column of the probability of a class."""
    return f"p.{name}"


def grading_metrics(protocol: Grade) -> tuple[Metric, ...]:
    """All metrics of a protocol; its `reject`, `by`, `sweep` and `localisation` add to those of its classes."""
    classes, reject = protocol.classes, protocol.reject
    columns = ("label", *map(probability_column, classes))
    found = [*_of_classes(len(classes)), _cost(protocol), *_of_probabilities(columns)]
    for index, name in enumerate(classes):
        found += _per_class(name, index, len(classes), columns)
    if reject is not None:
        found += _binary(classes.index(reject), reject, len(classes))
    if protocol.sweep:
        found += _of_sweep()
    if protocol.localisation:
        found.append(LOCALISATION)
    for by in protocol.by:
        found += [
            Metric(
                f"accuracy_by_{by}",
                "accuracy",
                "higher",
                f"accuracy at each {by}",
                SKLEARN,
                ("correct",),
                by=by,
            ),
            _score(
                f"macro_f1_by_{by}",
                "macro F1",
                f"macro F1 at each {by}",
                classes=len(classes),
                score="f1",
                average="macro",
                by=by,
            ),
        ]
    return tuple(found)


def _score(id_: str, title: str, definition: str, reduce: str = "class_score", by: str = "", **options: Any) -> Metric:
    return Metric(id_, title, "higher", definition, SKLEARN, ("label", "predicted"), reduce, options, by)


def _of_classes(k: int) -> Iterator[Metric]:
    yield Metric(
        "accuracy",
        "accuracy",
        "higher",
        "share of images whose most probable class is the label",
        SKLEARN,
        ("correct",),
    )
    averages: tuple[Literal["macro", "weighted"], ...] = ("macro", "weighted")
    for average in averages:
        for score in ("precision", "recall", "f1"):
            definition = f"{score} of each class, {'mean' if average == 'macro' else 'mean weighted by labels'}"
            yield _score(
                f"{average}_{score}",
                f"{average} {score.upper() if score == 'f1' else score}",
                definition,
                classes=k,
                score=score,
                average=average,
            )
    yield _score(
        "f1_of_macro_means",
        "F1 of macro means",
        "harmonic mean of macro precision and macro recall",
        "f1_of_macro_means",
        classes=k,
    )
    yield _score("micro_f1", "micro F1", "F1 of pooled counts; equals accuracy", classes=k, score="f1", average="micro")
    yield _score(
        "balanced_accuracy",
        "balanced accuracy",
        "mean recall over classes",
        classes=k,
        score="recall",
        average="macro",
    )
    for id_, penalty in (
        ("cohen_kappa", "none"),
        ("linear_weighted_kappa", "linear"),
        ("quadratic_weighted_kappa", "quadratic"),
    ):
        yield _score(
            id_,
            id_.replace("_", " "),
            f"1 − observed/expected disagreement, penalty {penalty}",
            "kappa",
            classes=k,
            penalty=penalty,
        )
    yield _score("mcc", "MCC", "Matthews correlation for several classes (Gorodkin 2004)", "mcc", classes=k)


def _of_probabilities(columns: tuple[str, ...]) -> Iterator[Metric]:
    for kind, normalise in (("raw", False), ("normalised", True)):
        yield Metric(
            f"macro_auc_ovr_{kind}",
            f"macro AUC ({kind})",
            "higher",
            f"one-vs-rest AUC, mean over classes, {kind} probabilities",
            SKLEARN,
            columns,
            "auc_ovr",
            {"normalise": normalise},
        )
    yield Metric(
        "log_loss_normalised",
        "log loss",
        "lower",
        "mean −ln of the label's normalised probability",
        SKLEARN,
        columns,
        "log_loss",
        unit="nats",
    )
    yield Metric(
        "brier_multiclass_sum_normalised",
        "Brier",
        "lower",
        "squared distance of normalised probabilities from the one-hot label, summed over classes",
        "Brier 1950",
        columns,
        "brier",
        unit="score",
    )
    for kind, normalise in (("normalised", True), ("raw", False)):
        yield Metric(
            f"ece{ECE_BINS}_top1_{kind}",
            f"ECE ({kind})",
            "lower",
            f"calibration error of the top class, {ECE_BINS} equal-width bins, {kind} probabilities",
            "Guo et al. 2017, eq. 3",
            columns,
            "ece_top1",
            {"bins": ECE_BINS, "normalise": normalise},
        )


def _per_class(name: str, index: int, k: int, columns: tuple[str, ...]) -> Iterator[Metric]:
    for score in ("precision", "recall", "f1", "specificity"):
        yield _score(
            f"{score}.{name}",
            f"{score} {name}",
            f"{score} of {name} against the other classes",
            classes=k,
            score=score,
            of=index,
        )
    for kind, normalise in (("raw", False), ("normalised", True)):
        yield Metric(
            f"auc_ovr_{kind}.{name}",
            f"AUC {name} ({kind})",
            "higher",
            f"AUC of {name} against the rest, {kind} probabilities",
            SKLEARN,
            columns,
            "auc_ovr",
            {"normalise": normalise, "of": index},
        )


def _cost(protocol: Grade) -> Metric:
    k = len(protocol.classes)
    costs = protocol.costs or tuple(tuple(abs(i - j) / (k - 1) for j in range(k)) for i in range(k))
    said = "as the task states them" if protocol.costs else "steps between the classes / their greatest number"
    return Metric(
        "expected_cost",
        "cost of errors",
        "lower",
        f"mean cost of the decisions, {said}",
        "Elkan 2001, The Foundations of Cost-Sensitive Learning",
        ("label", "predicted"),
        "expected_cost",
        {"costs": [list(row) for row in costs]},
        unit="score",
    )


SWEEP = "benchwright, docs/iqa.md, Robustness"
LOCALISATION = Metric(
    "localisation_auc",
    "localisation AUC",
    "higher",
    "how well the saliency of the worst class tells pixels of quality below ½ from the others, per image",
    "Selvaraju et al. 2017 (Grad-CAM); docs/iqa.md, Localisation",
)
"""Left out for images with fewer than 1 % of either kind of pixel, and for methods without saliency."""


def _of_sweep() -> Iterator[Metric]:
    yield Metric(
        "robustness",
        "robustness",
        "higher",
        "accuracy over eyes whose pictures get worse along one axis at a time",
        SWEEP,
        ("sweep_correct",),
    )
    for column, definition in (
        ("sweep_correct", "accuracy at each step of each axis"),
        ("sweep_label", "mean class index by the physics of the degradation"),
        ("sweep_predicted", "mean class index that the method gives"),
    ):
        better: Literal["higher", "none"] = "higher" if column == "sweep_correct" else "none"
        unit: Literal["fraction", "score"] = "fraction" if column == "sweep_correct" else "score"
        title = column.replace("_", ": ")
        yield Metric(f"{column}_by_step", title, better, definition, SWEEP, (column,), by="sweep", unit=unit)


def _binary(index: int, name: str, k: int) -> Iterator[Metric]:
    yield _score(
        f"binary_{name.lower()}.accuracy",
        f"{name} or not: accuracy",
        f"accuracy of {name} against the other classes",
        "binary_accuracy",
        classes=k,
        of=index,
    )


def _rating(id_: str, title: str, better: Literal["higher", "lower"], definition: str, source: str) -> Metric:
    return Metric(id_, title, better, definition, source, ("label", "predicted"), id_, unit="score")


RATING = (
    _rating(
        "spearman", "SRCC", "higher", "rank correlation of scores and ratings, mid-ranks for ties", "Spearman 1904"
    ),
    _rating("pearson", "PLCC", "higher", "correlation of scores and ratings, without a fitted curve", "Pearson 1895"),
    _rating("rmse", "RMSE", "lower", "root of the mean squared difference, in units of the rating", "VQEG 2003"),
    _rating("mae", "MAE", "lower", "mean absolute difference, in units of the rating", "VQEG 2003"),
)
"""Metrics of scores against ratings."""
