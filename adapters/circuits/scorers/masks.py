"""Gates on all edges, learned by gradient descent: the target against the expected number of open gates.

A gate g takes 1 − g of its edge away. Each has one number θ, and is drawn anew for each pair in each step:

uniform        with p = σ(θ) and w = p (1 − p): open with probability p − w/2, closed with 1 − p − w/2, and in between
               uniform on [0, 1]; the gradient of p is that of the draws in between, over w (Li and Janson 2024, arXiv
               2409.09951, uniform gradient sampling).
hard_concrete  a sigmoid of θ plus logistic noise, stretched to [-0.1, 1.1] and clipped to [0, 1]; p is the probability
               that it is not 0 (Louizos et al. 2018, arXiv 1712.01312).

What is minimised is −target + sparsity · mean(p). Published variants add to that: UGS a penalty of nodes, and dangling
edges set to 0 in every draw; Edge Pruning (Bhaskar et al. 2024, arXiv 2406.16778) gates of nodes, and a Lagrangian that
steers towards a wanted sparsity instead of a price. These are left out here, for both kinds to be the same but for how
gates are drawn; dead ends are pruned from the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from ....errors import UsageError
from ...lm.graph.masked import masked_logits
from ...lm.graph.nodes import Graph
from ...lm.graph.restarted import fitting, runs_of
from ..analysis import Attribution, Study
from ..evaluate import cut_up
from .params import Granularity, LearnedMask

PAIRS = 16
"""In one step, drawn anew each time."""
START = 1.0
"""Of every θ, as in the code of UGS."""
TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1
"""Of hard concrete gates, as Louizos et al. and Edge Pruning have them."""
KEPT_FOR_BACKWARD = 8
"""How many times as much memory a row takes when its pass is differentiated, about."""

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def uniform(theta: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Gates of shape (rows, edges) from noise that is uniform on [0, 1)."""
    p = theta.sigmoid()
    width = (p * (1 - p)).detach()
    return 1 - ((noise - p) / width + 0.5).clamp(0, 1)


def hard_concrete(theta: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The same."""
    noise = noise.clamp(1e-6, 1 - 1e-6)
    soft = ((noise.logit() + theta) / TEMPERATURE).sigmoid()
    return (soft * (HIGH - LOW) + LOW).clamp(0, 1)


def opened(gates: str, theta: torch.Tensor) -> torch.Tensor:
    """p: of uniform gates their mean, of hard concrete ones the probability that they are not 0."""
    return (theta if gates == "uniform" else theta - TEMPERATURE * math.log(-LOW / HIGH)).sigmoid()


DRAWN: Mapping[str, Function] = {"uniform": uniform, "hard_concrete": hard_concrete}


def by_learned_mask(scorer: LearnedMask, study: Study, granularity: Granularity) -> Attribution:
    """−p of every edge, shape (1, edges); the circuit is all edges with θ > 0, whose median gate is more open than
    closed. Raises UsageError for nodes."""
    if granularity != "edge":
        raise UsageError("learned masks are of edges; write `granularity: edge`")
    graph, rng = study.wiring.graph, study.rng("learned-mask")
    count, device = len(study.pairs), study.wiring.lm.device
    prepared = list(runs_of(study.wiring, study.pairs, study.ablation, study.batch))
    size = fitting(study.wiring, study.pairs, max(1, study.batch * KEPT_FOR_BACKWARD)) // KEPT_FOR_BACKWARD
    theta = torch.full((len(graph.edges),), START, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=scorer.lr)
    for step in range(scorer.steps):
        study.progress(step, scorer.steps)
        drawn = np.sort(rng.choice(count, min(count, PAIRS), replace=False))
        noise = torch.from_numpy(rng.random((len(drawn), len(theta)), dtype=np.float32)).to(device)
        optimizer.zero_grad()
        (scorer.sparsity * opened(scorer.gates, theta).mean()).backward()
        for runs in prepared:
            member = np.flatnonzero(np.isin(drawn, runs.batch.places))
            places = torch.tensor([runs.batch.places.index(int(i)) for i in drawn[member]], device=device)
            for cut in cut_up(len(member), max(1, size)):
                rows, gates = places[cut.to(device)], DRAWN[scorer.gates](theta, noise[member[cut.numpy()]])
                logits = masked_logits(runs, rows, _taken(graph, gates))
                values = study.target.values(logits, runs.batch.rows(rows), runs.clean.logits[rows])
                (-values.sum() / len(drawn)).backward()
        optimizer.step()
    kept = np.zeros_like(graph.allowed)
    kept[*graph.edges.T] = (theta > 0).cpu().numpy()
    scores = -opened(scorer.gates, theta.detach()).cpu().numpy()[None]
    return Attribution(graph, granularity, scores.astype(np.float32), kept=kept)


def _taken(graph: Graph, gates: torch.Tensor) -> torch.Tensor:
    """1 − gate of shape (rows, edges) as (rows, sources, destinations)."""
    sources, destinations = (torch.from_numpy(places.copy()).to(gates.device) for places in graph.edges.T)
    rows = torch.arange(len(gates), device=gates.device)[:, None]
    return gates.new_zeros(len(gates), *graph.allowed.shape).index_put((rows, sources, destinations), 1 - gates)
