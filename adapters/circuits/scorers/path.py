"""Path patching: what reaches a receiver through MLPs alone (Wang et al. 2022, arXiv 2211.00593, appendix B).

Pass 1: a source writes what it writes when ablated, every head stays as in the clean run, and the MLPs between compute
anew; what the receiver would read is kept. Pass 2: a clean run in which the receiver reads that. In pass 1 nothing but
MLPs is computed, since the stream of a model whose heads are frozen changes by what its MLPs write.
"""

from __future__ import annotations

import numpy as np
import torch

from ....errors import UsageError, unknown
from ...lm.forward import tensor_of
from ...lm.graph.restarted import Runs, fitting, plus, runs_of
from ..analysis import Attribution, Study
from ..evaluate import cut_up
from .exact import effects
from .params import Granularity, PathPatching


def by_path_patching(scorer: PathPatching, study: Study, granularity: Granularity) -> Attribution:
    """Scores of the edges into the receivers; 0 for all others. Raises UsageError for nodes and unknown receivers."""
    graph = study.wiring.graph
    if granularity != "edge":
        raise UsageError("path patching scores edges; write `granularity: edge`")
    for name in scorer.receivers:
        if name not in graph.destinations:
            raise UsageError("path patching: " + unknown("receiver", name, graph.destinations))
    receivers = scorer.receivers or graph.destinations
    wanted = np.isin(graph.edges[:, 1], [graph.destinations.index(name) for name in receivers])
    layers = graph.layer_of[graph.edges[:, 1]]
    found = np.zeros((len(study.pairs), len(graph.edges)), dtype=np.float32)
    for runs in runs_of(study.wiring, study.pairs, study.ablation, study.batch):
        changes = runs.differences()
        for layer in range(max(layers[wanted]) + 1):
            study.progress(layer, max(layers[wanted]) + 1)
            here = wanted & (layers == layer)
            if here.any():
                found[np.ix_(runs.batch.places, here)] = effects(study, runs, layer, graph.edges[here], changes)
            if layer < graph.layers:
                changes = _passed_on(study, runs, layer, changes)
    return Attribution(graph, granularity, found)


@torch.no_grad()
def _passed_on(study: Study, runs: Runs, layer: int, changes: torch.Tensor) -> torch.Tensor:
    """How the stream behind a block's MLP changes, where `changes`, of shape (pairs, sources, positions, width), are
    what each source alone does to the stream before it."""
    wiring, batch = runs.wiring, len(runs.batch)
    at, count = wiring.layers[layer], wiring.graph.before_mlp(layer)
    found, length = changes.clone(), changes.shape[2]
    for cut in cut_up(batch * count, fitting(wiring, study.pairs, study.batch)):
        rows, sources = (cut // count).to(changes.device), (cut % count).to(changes.device)
        read = at.mlp_norm(plus(runs.clean.streams.mlp[layer][rows], changes[rows, sources]))
        with wiring.lm.asking([length - 1] * len(cut), [0] * len(cut)):
            made = at.mlp[1](read)
        made = at.mlp_after(tensor_of(made)) if at.mlp_after else tensor_of(made)
        found[rows, sources] += made.float() - runs.clean.values.mlps[layer][rows]
    return found
