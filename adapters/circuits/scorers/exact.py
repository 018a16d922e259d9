"""Ablating each edge, or each node, alone: what all other scorers estimate.

Sources below the edited block are as in the clean run, so an edge costs the blocks from its destination upwards, a
third of a forward pass on average; an edge into the logits costs but the head. The peer computes two whole passes.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...lm.forward import replaced, tensor_of
from ...lm.graph.restarted import Edit, Runs, fitting, plus, reading, restarted, runs_of
from ...lm.graph.values import replacing_embedding
from ..analysis import Attribution, Study
from ..evaluate import cut_up, values_of
from .params import Granularity


def exactly(study: Study, granularity: Granularity) -> Attribution:
    """m(ablated) − m(clean) of every edge or node and pair. Raises DataError for a pair without a corrupt prompt."""
    graph = study.wiring.graph
    count = len(graph.edges) if granularity == "edge" else len(graph.sources)
    found = np.zeros((len(study.pairs), count), dtype=np.float32)
    for runs in runs_of(study.wiring, study.pairs, study.ablation, study.batch):
        scored = _edges(study, runs) if granularity == "edge" else _nodes(study, runs)
        found[list(runs.batch.places)] = scored
    return Attribution(graph, granularity, found)


def effects(
    study: Study, runs: Runs, layer: int, edges: NDArray[np.int64], changes: torch.Tensor
) -> NDArray[np.float64]:
    """How the target changes when a destination reads its stream plus a change, all else clean; shape (pairs, edges).

    `edges`: sources and destinations, the latter of one block (or `logits`), shape (edges, 2); `changes`: what each
    source does to the stream that this block reads, shape (pairs, sources, positions, width).
    """
    pairs, values = len(runs.batch), []
    for cut in cut_up(len(edges) * pairs, fitting(study.wiring, study.pairs, study.batch)):
        rows, chosen = (cut % pairs).to(changes.device), edges[(cut // pairs).numpy()]
        starts = np.flatnonzero(np.diff(chosen[:, 1], prepend=-1))
        edits = []
        for first, last in zip(starts, [*starts[1:], len(chosen)], strict=True):
            of_edit, sources = rows[first:last], torch.from_numpy(chosen[first:last, 0]).to(changes.device)
            edits.append(Edit(int(chosen[first, 1]), of_edit, changes[of_edit, sources]))
        values.append(values_of(study, runs, rows, reading(runs, layer, edits)))
    return np.concatenate(values).reshape(len(edges), pairs).T - clean_values(study, runs)[:, None]


def clean_values(study: Study, runs: Runs) -> NDArray[np.float64]:
    """The target on the untouched model, shape (pairs,)."""
    return values_of(study, runs, torch.arange(len(runs.batch)), runs.clean.logits)


def _edges(study: Study, runs: Runs) -> NDArray[np.float64]:
    """Shape (pairs, edges)."""
    graph, changes = study.wiring.graph, runs.differences()
    layers, found = graph.layer_of[graph.edges[:, 1]], []
    for layer in range(graph.layers + 1):
        study.progress(layer, graph.layers + 1)
        found.append(effects(study, runs, layer, graph.edges[layers == layer], changes))
    return np.concatenate(found, 1)


def _nodes(study: Study, runs: Runs) -> NDArray[np.float64]:
    """Shape (pairs, sources)."""
    changes, size = runs.differences(), fitting(study.wiring, study.pairs, study.batch)
    values = []
    for source in range(changes.shape[1]):
        study.progress(source, changes.shape[1])
        for rows in cut_up(len(runs.batch), size):
            on_device = rows.to(changes.device)
            logits = _written(runs, on_device, source, changes[on_device, source])
            values.append(values_of(study, runs, rows, logits))
    found = np.concatenate(values).reshape(changes.shape[1], -1).T
    return found - clean_values(study, runs)[:, None]


@torch.no_grad()
def _written(runs: Runs, rows: torch.Tensor, source: int, change: torch.Tensor) -> torch.Tensor:
    """Logits when a source writes `change`, of shape (rows, positions, width), beside what it writes."""
    wiring, graph = runs.wiring, runs.wiring.graph
    number, head = divmod(source - 1, graph.heads + 1)
    if source and head == graph.heads:
        above = (*runs.clean.streams.attention, runs.clean.streams.final)[number + 1]
        return restarted(runs, rows, number + 1, plus(above[rows], change))
    with ExitStack() as hooks:
        if source:
            layer = wiring.layers[number]
            module = layer.attention_after.module if layer.attention_after else layer.out.module

            def changed(_: Any, __: Any, output: Any) -> Any:
                return replaced(output, plus(tensor_of(output), change))

            handle = module.register_forward_hook(changed)
        else:
            handle = replacing_embedding(wiring, runs.reference.embedded[rows])
        hooks.callback(handle.remove)
        start = max(number, 0)
        return restarted(runs, rows, start, runs.clean.streams.attention[start][rows])
