"""Does a method look where the picture is bad?"""

from __future__ import annotations

import numpy as np

from ...reducers.probability import binary_auc

BAD = 0.5
"""Pixels whose quality is below this are bad."""
LEAST = 0.01
"""Smallest share of the field of view that both kinds of pixel must have."""


def localisation_auc(saliency: np.ndarray, quality: np.ndarray, fov: np.ndarray) -> float | None:
    """Area under the ROC curve of `saliency` for bad pixels inside the field of view; None with too few of a kind.

    All of shape (size, size). A map that says the same everywhere has ½ (ties count half).
    """
    bad = quality[fov] < BAD
    if not LEAST * len(bad) <= bad.sum() <= (1 - LEAST) * len(bad) or not len(bad):
        return None
    return float(binary_auc(saliency[fov].astype(float), bad, np.ones((1, len(bad))))[0])
