"""How alike the circuits are that bootstrap samples of the pairs give."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from ..lm.graph.nodes import Mask
from .analysis import Attribution, Study
from .methods.analyzer import Analyzer
from .params import Stability
from .select import own


def stability(
    wanted: Stability, analyzer: Analyzer, study: Study, attribution: Attribution, edges: int
) -> float | None:
    """Mean Jaccard index of the circuits of all pairs of bootstrap samples; None with too few samples, or when none of
    them has a circuit.

    Scores of single pairs are averaged anew; a method with but one score for all pairs is run again on each sample.
    `edges`: what circuits are cut to, where the method does not decide by itself.
    """
    together = len(attribution.by_pair) == 1
    samples = wanted.reruns if together else wanted.samples
    if samples < 2:
        return None
    rng, n = study.rng("bootstrap"), len(study.pairs)
    found = []
    for _ in range(samples):
        drawn = rng.integers(n, size=n)
        if together:
            sample = analyzer.attribution(replace(study, pairs=[study.pairs[i] for i in drawn]))
        else:
            sample = replace(attribution, by_pair=attribution.by_pair[drawn])
        mask = own(analyzer, sample)
        found.append(analyzer.circuit(sample, edges) if mask is None else mask)
    if not any(mask.any() for mask in found):
        return None
    return float(np.mean([jaccard(one, other) for one, other in combinations(found, 2)]))


def jaccard(first: Mask, second: Mask) -> float:
    """Edges in both over edges in either; 1 of two empty circuits."""
    either = (first | second).sum()
    return float((first & second).sum() / either) if either else 1.0
