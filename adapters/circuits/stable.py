"""How alike the circuits are that bootstrap samples of the pairs give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..lm.graph.nodes import Mask
from .analysis import Attribution, Study
from .methods.analyzer import Analyzer
from .params import Stability
from .select import own


def stability(
    wanted: Stability, analyzer: Analyzer, study: Study, attribution: Attribution, circuit: Mask
) -> Iterator[float]:
    """For each bootstrap sample the mean Jaccard index of its circuit with those of the others; none where too few.

    Scores of single pairs are averaged anew; a method with but one score for all pairs is run again on each sample.
    """
    alone = len(attribution.by_pair) == 1
    samples = wanted.reruns if alone else wanted.samples
    if samples < 2:
        return
    rng, n = study.rng("bootstrap"), len(study.pairs)
    found = []
    for _ in range(samples):
        drawn = rng.integers(n, size=n)
        if alone:
            sample = analyzer.attribution(replace(study, pairs=[study.pairs[i] for i in drawn]))
        else:
            sample = replace(attribution, by_pair=attribution.by_pair[drawn])
        mask = own(analyzer, sample)
        found.append(analyzer.circuit(sample, int(circuit.sum())) if mask is None else mask)
    for i, mask in enumerate(found):
        yield float(np.mean([jaccard(mask, other) for j, other in enumerate(found) if j != i]))


def jaccard(first: Mask, second: Mask) -> float:
    """Edges in both over edges in either; 1 of two empty circuits."""
    either = (first | second).sum()
    return float((first & second).sum() / either) if either else 1.0
