"""Classifiers and regressors that are learned from features, by scikit-learn.

Nothing is written to disk: a fit is a pure function of features, labels and seed, so that whoever keeps these has the
classifier, and fits it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import DataError, ModelError
from .params import Forest, Learned, Linear, SupportVectors

Predictor = Callable[[np.ndarray], np.ndarray]
"""From features (m, d) to probabilities (m, classes), or scores (m, 1), float64."""

_FOLDS = 5
_STEPS = 10_000


def fitted(learned: Learned, x: np.ndarray, y: np.ndarray, classes: int, seed: int) -> Predictor:
    """Learn labels `y` (n,) from features `x` (n, d).

    `classes` > 0: y in 0…classes−1, and the predictor gives probabilities that sum to one, in the order of the
    classes; a class that y lacks has probability 0. `classes` = 0: y are scores, and the predictor gives (m, 1).
    The same arguments give the same predictor; `seed` is for the trees of the forest and the folds of Platt scaling.

    Raises DataError for a feature or score that is not finite (in prediction as well), for labels of a single class,
    and for a class with one member where Platt scaling needs two; ModelError when the fit does not converge.
    """
    features, targets = _finite(x), np.asarray(y)
    if classes == 0:
        return _regression(learned, features, targets, seed)
    return _classification(learned, features, targets, classes, seed)


def _classification(learned: Learned, x: np.ndarray, y: np.ndarray, classes: int, seed: int) -> Predictor:
    strange = [label for label in np.unique(y).tolist() if label not in range(classes)]
    if strange:
        raise DataError(f"label {strange[0]} is none of the {classes} classes 0…{classes - 1}")
    sizes = Counter(y.astype(np.int64).tolist())
    if len(sizes) < 2:
        raise DataError(f"the {len(y)} training labels are of one class or none; a classifier needs two")
    model = _classifier(learned, sizes, seed).fit(x, y.astype(np.int64))
    if isinstance(learned, Linear) and model[-1].n_iter_.max() >= _STEPS:
        raise ModelError(f"logistic regression did not converge in {_STEPS} steps; take a smaller `strength`")

    def probabilities(rows: np.ndarray) -> np.ndarray:
        found = np.zeros((len(rows), classes))
        found[:, model.classes_] = model.predict_proba(_finite(rows))
        return found

    return probabilities


def _classifier(learned: Learned, sizes: Counter[int], seed: int) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    match learned:
        case Linear(strength=strength):
            return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=_STEPS))
        case Forest(trees=trees):
            return RandomForestClassifier(trees, random_state=seed, n_jobs=1)
        case SupportVectors(strength=strength):
            label, fewest = min(sizes.items(), key=lambda item: (item[1], item[0]))
            if fewest < 2:
                raise DataError(f"class {label} has one training label; `svm` needs two of a class for Platt scaling")
            # As many folds as a class has members, where these are few: each fold must see all classes.
            folds = StratifiedKFold(min(_FOLDS, fewest), shuffle=True, random_state=seed)
            machine = make_pipeline(StandardScaler(), SVC(C=strength))
            return CalibratedClassifierCV(machine, method="sigmoid", cv=folds, ensemble=False, n_jobs=1)


def _regression(learned: Learned, x: np.ndarray, y: np.ndarray, seed: int) -> Predictor:
    if not len(y):
        raise DataError("there are no scores to learn from")
    if not np.isfinite(y).all():
        raise DataError(f"score {int(np.argmin(np.isfinite(y)))} is not a finite number")
    model = _regressor(learned, seed).fit(x, y.astype(np.float64))

    def scores(rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = model.predict(_finite(rows)).reshape(-1, 1)
        return found

    return scores


def _regressor(learned: Learned, seed: int) -> Any:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    match learned:
        case Linear(strength=strength):
            return make_pipeline(StandardScaler(), Ridge(alpha=1 / strength))
        case Forest(trees=trees):
            return RandomForestRegressor(trees, random_state=seed, n_jobs=1)
        case SupportVectors(strength=strength):
            # The tube of SVR, 0.1, is in units of the score, so scores are brought to a unit of their own.
            machine = make_pipeline(StandardScaler(), SVR(C=strength))
            return TransformedTargetRegressor(machine, transformer=StandardScaler())


def _finite(x: np.ndarray) -> np.ndarray:
    """Features as float64; raises DataError naming the first column with a NaN or an infinity."""
    features = np.asarray(x, dtype=np.float64)
    fine = np.isfinite(features).all(axis=0)
    if not fine.all():
        raise DataError(f"feature {int(np.argmin(fine))}, counted from 0, is not a finite number in some picture")
    return features
