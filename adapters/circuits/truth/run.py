"""The protocol: make each model, let the method score it, compare with the truth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ModelError
from ....job import Job, Part
from ...lm.graph.nodes import Graph, Mask
from ...lm.graph.ungrouped import wired
from ...worlds.compiled.making import CompiledModel, make
from ..analysis import Attribution, Study
from ..exhibits import edge_weights, graph_exhibit
from ..methods.analyzer import Analyzer
from ..select import reduced, worth_of
from .metrics import scores
from .params import Case, CircuitTruth

Values = NDArray[np.float64]


def run(protocol: CircuitTruth, job: Job) -> Iterator[Part]:
    """A part for each model. Raises ModelError where a method gives a score that is no number, and where it leaves a
    model changed: the engine sees to that only for models that it opened."""
    analyzer = job.method.algorithm
    assert isinstance(analyzer, Analyzer)
    cases: list[Case] = job.items()
    for name, (case,) in job.chunks(cases, 1):
        made = make(case.design, case.seed, job.device, threads=job.threads)
        attribution = _attribution(protocol, job, analyzer, case, made)
        if changes := made.lm.verify():
            raise ModelError(f"the method changed the model {case.id}: {'; '.join(changes)}")
        worth = worth_of_edges(analyzer, attribution)
        part = Part(name, items=[_item(case, made, attribution.graph)])
        for truth, edges in (("causal", made.circuit.causal), ("wiring", made.circuit.wiring)):
            true = np.array([edge in edges for edge in attribution.graph.names()])
            for score, value in scores(worth, true).items():
                part.record(case.id, f"{score}.{truth}", value)
        if case is cases[0]:
            part.exhibits["truth"] = _picture(analyzer, attribution, worth, case, made)
        yield part


def _attribution(protocol: CircuitTruth, job: Job, analyzer: Analyzer, case: Case, made: CompiledModel) -> Attribution:
    with wired(made.lm, analyzer.keys_and_values) as wiring:
        study = Study(
            wiring,
            made.pairs,
            analyzer.target,
            analyzer.ablation,
            protocol.forward_batch,
            partial(job.rng, item=case.id),
        )
        return analyzer.attribution(study)


def _item(case: Case, made: CompiledModel, graph: Graph) -> dict[str, Any]:
    design = case.design
    return {
        "item": case.id,
        "design": case.name,
        "seed": case.seed,
        "layers": design.layers,
        "relations": design.relations,
        "edges": len(graph.edges),
        "causal": len(made.circuit.causal),
        "wiring": len(made.circuit.wiring),
        "margin": float(f"{made.margin:.4g}"),
    }


def worth_of_edges(analyzer: Analyzer, attribution: Attribution) -> Values:
    """By what a method ranks edges, the best have most; shape (edges,).

    Of nodes, an edge has the smaller worth of its two ends: so many nodes must be taken, best first, until the edge is
    in the circuit. `input` and `logits` are in every circuit. Raises ModelError where a score is no number.
    """
    worth = worth_of(reduced(analyzer, attribution), analyzer.selector.by)
    return worth if attribution.granularity == "edge" else _of_ends(attribution.graph, worth)


def _of_ends(graph: Graph, worth: Values) -> Values:
    sources = worth.copy()
    sources[0] = np.inf
    readers = [max((sources[n] for n in graph.nodes_of(d)), default=np.inf) for d in range(len(graph.destinations))]
    return np.minimum(sources[graph.edges[:, 0]], np.array(readers)[graph.edges[:, 1]])


def _picture(
    analyzer: Analyzer, attribution: Attribution, worth: Values, case: Case, made: CompiledModel
) -> dict[str, Any]:
    """True edges that are at the top, those that are not, and the others that are there instead."""
    graph, true = attribution.graph, made.circuit.causal
    top = np.argsort(-worth, kind="stable")[: len(true)]
    kept = {graph.name(*graph.edges[place]) for place in top}
    shown: Mask = graph.mask([*kept, *true])
    exhibit = graph_exhibit(
        f"The {len(true)} best edges of {case.id} against its causal ones",
        graph,
        shown,
        edge_weights(analyzer, attribution),
        made.circuit.types,
    )
    # An edge each, in the order of the mask: no heads of these models share keys and values.
    for edge, (source, destination) in zip(exhibit["edges"], np.argwhere(shown), strict=True):
        name = graph.name(source, destination)
        edge["kind"] = "false" if name not in true else "found" if name in kept else "missed"
    return exhibit
