"""Metrics of editing in the wild."""

from __future__ import annotations

from ....metrics import Metric
from ...bridges.ability import GENERAL_METRICS
from ..metrics import KINDS

PAPER = "Yang et al. 2025, arXiv 2502.11177"
HOW = "wild"

_WHAT = {
    "reliability": "the edited question is answered with the new target",
    "generalization": "so is the rephrased question",
    "locality": "an unrelated question is answered as the untouched model answers it: the judge is given that answer "
    "as the right one (WILD's code compares the tokens of both)",
    "portability": "what follows from the edit is answered rightly; mean over kinds, without inverse and "
    "chain_of_thought; not in the paper",
}
_WRITTEN = (
    "the model writes its answer greedily to its end, knowing nothing of the right one, and it is judged as a whole"
)

METRICS = (
    *(Metric(f"{what}.{HOW}", what, "higher", f"{meaning}; {_WRITTEN}", PAPER) for what, meaning in _WHAT.items()),
    *(
        Metric(
            f"{measure}.{kind}.{HOW}",
            f"{measure}, {kind.replace('_', ' ')}",
            "higher",
            f"{measure} of one kind: {meaning}; {_WRITTEN}",
            PAPER,
        )
        for measure, kinds in KINDS.items()
        for kind, meaning in kinds.items()
    ),
    Metric(
        "answer_words",
        "words of answers",
        "none",
        "mean number of words of a case's answers to its edited and rephrased questions",
        "Benchwright",
        unit="count",
    ),
    *GENERAL_METRICS,
)
