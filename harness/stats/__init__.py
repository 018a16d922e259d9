"""Intervals and paired tests on per-item records. Only numpy, and no knowledge of any family.

Everything resamples *clusters* (edits of one edited model, attacks of one category), never the items inside
them; where clusters are crossed (a prompt is a question and an attack), each factor by itself. A metric is reached
only through its weights, so that this works for kappa or AUC as it does for a mean.
Items are put in the order of their names first and every generator is seeded by the clusters' names or the
metric's id: equal records give equal numbers, in whatever order they were written.
"""

from .intervals import Estimate, interval, intervals
from .paired import Comparison, compare, compare_each, holm, items_needed
from .resampling import value

VERSION = 3
"""Raised when the same records give other intervals or tests."""

__all__ = [
    "VERSION",
    "Comparison",
    "Estimate",
    "compare",
    "compare_each",
    "holm",
    "interval",
    "intervals",
    "items_needed",
    "value",
]
