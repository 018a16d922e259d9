"""What the numbers of a circuit mean. Pure: columns of pairs, reduced together (harness/reducers/normalised.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...metrics import Metric

KC = "Yao et al. 2024, Knowledge Circuits in Pretrained Transformers, arXiv 2405.17969"
MIB = "Mueller et al. 2025, MIB: A Mechanistic Interpretability Benchmark, arXiv 2504.13151"
IOI = "Wang et al. 2022, Interpretability in the Wild, arXiv 2211.00593, section 4"

MODEL, EMPTY = "value.model", "value.empty"
"""Columns: the target on the untouched model, and with every edge ablated."""
ENDS = {"full": MODEL, "empty": EMPTY}
AT_SIZE = ("size.model", "size.empty", "size.circuit")
"""Columns that are recorded once for each size, as their condition."""
NECESSARY = 0.01
"""Change of faithfulness from which an edge is needed."""
ENOUGH = 0.8


def at_size(size: float) -> str:
    """The column of circuits of a share of all edges."""
    return f"value.circuit@{size:g}"


def subset(number: int, what: str) -> str:
    """The column of `model` or `circuit` without a random subset of the circuit."""
    return f"value.{what}-{number}"


_HIT = (
    "share of prompts after which the right answer (the best of several) is among the ten most probable tokens, {}. "
    "Divided by the number of prompts, as the code of the paper does; its equation (3) divides by the vocabulary"
)

_FOUND_ON = "on the pairs that the circuit was found on"
_CIRCUIT = Metric("hit10.circuit", "Hit@10, circuit", "higher", _HIT.format("by the circuit alone"), KC)
_MODEL = Metric("hit10.model", "Hit@10, model", "none", _HIT.format("by the whole model"), KC)
HITS = (
    *(_CIRCUIT, _MODEL),
    *(
        replace(m, id=f"{m.id}.discovery", title=f"{m.title} (found on)", definition=f"{m.definition}; {_FOUND_ON}")
        for m in (_CIRCUIT, _MODEL)
    ),
)
"""The circuit's, and the model's, which is the same for all methods and therefore no rank."""


def circuit_metrics(sizes: Sequence[float], subsets: int, *, by_relation: bool) -> tuple[Metric, ...]:
    """All metrics of a task with circuits of these sizes; the headline first."""
    parts = tuple(at_size(size) for size in sizes)
    columns = (MODEL, EMPTY, *parts)
    over = {"parts": parts, "at": tuple(sizes), **ENDS}
    start = f"{sizes[0]:g}"
    whole = "where nothing kept is 0 and the whole model 1 (means over pairs)"
    return (
        Metric(
            "cpr",
            "CPR",
            "higher",
            f"circuit performance ratio: area under faithfulness over the share of edges, linear from {start} to 1, so "
            "that half of it is the segment from 0.5 to 1; above 1 where circuits overshoot",
            MIB,
            columns,
            "normalised_area",
            over,
            unit="score",
        ),
        Metric(
            "cmd",
            "CMD",
            "lower",
            f"circuit-model distance: area under |1 − faithfulness| over the share of edges, linear from {start} to 1",
            MIB,
            columns,
            "normalised_area",
            {**over, "distance": True},
            unit="score",
        ),
        Metric(
            "cpr.log",
            "CPR (log)",
            "higher",
            f"mean faithfulness over the logarithm of the share of edges from {start} to 1: every decade weighs alike",
            "ours, to be read beside CPR",
            columns,
            "normalised_area",
            {**over, "log": True},
            unit="score",
        ),
        Metric(
            "cmd.log",
            "CMD (log)",
            "lower",
            f"mean |1 − faithfulness| over the logarithm of the share of edges from {start} to 1; 0 at best",
            "ours, to be read beside CMD",
            columns,
            "normalised_area",
            {**over, "log": True, "distance": True},
            unit="score",
        ),
        Metric(
            "faithfulness",
            "faithfulness",
            "none",
            f"target of the circuit of so large a share of edges, alone, {whole}",
            MIB,
            AT_SIZE,
            "normalised",
            dict(zip(("full", "empty", "part"), AT_SIZE, strict=True)),
            unit="score",
        ),
        Metric(
            "edges.80",
            "edges for 80 %",
            "lower",
            f"smallest share of edges whose circuit has a faithfulness of {ENOUGH}, of those that are cut",
            "ours",
            columns,
            "first_reaching",
            {**over, "share": ENOUGH},
        ),
        *HITS,
        *(replace(m, id=f"{m.id}.relation", columns=(m.id,), by="relation") for m in HITS if by_relation),
        *_incompleteness(subsets),
        Metric(
            "minimality",
            "minimality",
            "higher",
            f"share of the circuit's edges (of a random sample) without which its faithfulness changes by {NECESSARY} "
            "or more",
            IOI,
        ),
        Metric(
            "stability",
            "stability",
            "higher",
            "mean Jaccard index of the edges of circuits from bootstrap samples of the pairs; a value for each circuit",
            "Meloux et al. 2025, arXiv 2510.00845",
        ),
        Metric("edges", "edges", "none", "edges of the circuit after pruning", "count", unit="count"),
        Metric("edges.share", "share of edges", "none", "the same over all edges of the model", "count"),
        Metric("nodes", "nodes", "none", "heads and MLPs with an edge in the circuit", "count", unit="count"),
        Metric("value.model", "target, model", "none", "the target on the untouched model", "task", unit="score"),
        Metric("value.empty", "target, empty", "none", "the target with every edge ablated", "task", unit="score"),
    )


def _incompleteness(subsets: int) -> tuple[Metric, ...]:
    """None without subsets."""
    if not subsets:
        return ()
    return (
        Metric(
            "incompleteness",
            "incompleteness",
            "lower",
            "mean over random subsets K of the circuit's edges (each edge is in with probability 1/2) of the gap "
            "between circuit without K and model without K, as a share of the whole model's target",
            IOI,
            (MODEL, EMPTY, *(subset(i, what) for i in range(subsets) for what in ("circuit", "model"))),
            "normalised_gap",
            {
                "firsts": tuple(subset(i, "circuit") for i in range(subsets)),
                "seconds": tuple(subset(i, "model") for i in range(subsets)),
                **ENDS,
            },
            unit="score",
        ),
    )
