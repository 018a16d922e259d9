"""Metrics of knowledge editing, each per edit and in two strengths.

`token`: share of the target's tokens that are the most probable one under teacher forcing, what EasyEdit and KnowEdit
call accuracy. `exact`: all of them are, which is the same as greedy decoding producing the target (lm/scoring.py).
A case's value is the mean over its kinds of probe of the mean over the probes of a kind; cases without probes have no
value. Definitions: Zhang et al. 2024 (KnowEdit, arXiv 2401.01286), section 5.
"""

from __future__ import annotations

from ...metrics import Metric

SOURCE = "Zhang et al. 2024, arXiv 2401.01286, section 5"

_WHAT = {
    "reliability": "the edited prompt is answered with the new target",
    "generalization": "the rephrased prompt is answered with the new target",
    "locality": "unrelated prompts are answered as before the edit, by the untouched model",
    "portability": "prompts that follow from the edit are answered rightly (best of the accepted answers)",
}
_HOW = {
    "exact": "all tokens, i.e. greedy decoding gives the answer",
    "token": "share of tokens, teacher forcing",
}

METRICS = tuple(
    Metric(f"{what}.{how}", f"{what} ({how})", "higher", f"{meaning}; {_HOW[how]}", SOURCE)
    for how in _HOW
    for what, meaning in _WHAT.items()
)


def token_share(predicted: tuple[int, ...], target: tuple[int, ...]) -> float:
    """Share of positions at which the two agree; both have the same length, at least 1."""
    return sum(p == t for p, t in zip(predicted, target, strict=True)) / len(target)
