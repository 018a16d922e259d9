"""Metrics of multi-hop editing."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from ....metrics import Metric
from ...bridges.ability import GENERAL_METRICS

PAPER = "Zhong et al. 2023, arXiv 2305.14795, section 3.4"

_HOW = {"": "answered at once", ".cot": "answered by reasoning aloud (chain of thought)"}
RIGHT, ASKED = "edits.right", "edits.asked"

METRICS = (
    *(
        metric
        for how, meaning in _HOW.items()
        for metric in (
            Metric(
                f"multi_hop{how}",
                f"multi-hop{how}",
                "higher",
                f"at least one of a case's multi-hop questions is answered with the answer after the edits, or another "
                f"name of it; {meaning}",
                PAPER,
            ),
            Metric(
                f"multi_hop.known{how}",
                f"multi-hop, known chains{how}",
                "higher",
                f"the same of cases of which the untouched model knows every fact of the chain before the edits; "
                f"{meaning}",
                f"{PAPER}; section 3.2 keeps such cases only",
            ),
            Metric(
                f"multi_hop.each{how}",
                f"multi-hop, each question{how}",
                "higher",
                f"share of a case's multi-hop questions that are answered rightly; {meaning}",
                "Benchwright",
            ),
            Metric(
                f"multi_hop.before{how}",
                f"multi-hop before{how}",
                "none",
                f"the untouched model answers at least one of the questions with the answer before the edits; the same "
                f"for all methods; {meaning}",
                PAPER,
            ),
        )
    ),
    Metric(
        "edit_wise",
        "edit-wise",
        "higher",
        "share of edited facts that are recalled: what the model writes after the edited prompt begins with the target",
        PAPER,
        columns=(RIGHT, ASKED),
        reduce="ratio_of_sums",
    ),
    Metric(
        "instance_wise",
        "instance-wise",
        "higher",
        "share of cases of which every fact of the chain after the edits is recalled, the edited ones and the others",
        PAPER,
    ),
    Metric(
        "instance_wise.before",
        "instance-wise before",
        "none",
        "the same of the untouched model and the chain before the edits; the same for all methods",
        PAPER,
    ),
    *GENERAL_METRICS,
)


def multi_hop(right: Sequence[bool], how: str, known: bool) -> dict[str, float]:
    """Values of a case from whether each of its questions was answered rightly; `known`: whether the untouched model
    knows the chain before.

    >>> multi_hop([False, True], "", False)
    {'multi_hop': 1.0, 'multi_hop.each': 0.5}
    """
    found = {f"multi_hop{how}": float(any(right)), f"multi_hop.each{how}": fmean(right)}
    return found | ({f"multi_hop.known{how}": float(any(right))} if known else {})
