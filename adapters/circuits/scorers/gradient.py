"""Scores from gradients: one forward and backward pass for each point of a path, whatever the number of edges.

Passes for a batch, `forward` the plain ones: attribution patching 1 and 1 forward; the left rule with m steps m and 1
forward (its first point is the corrupt run itself, when ablation is patching); the right rule the same; the others m
and 2 forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ....errors import UsageError
from ...lm.graph.backward import readers, run, stages
from ...lm.graph.gradients import Gradients, add_products
from ...lm.graph.pairs import Batch, batches
from ...lm.graph.values import Reference, Values, record, reference_for
from ..analysis import Attribution, Study

if TYPE_CHECKING:
    from .params import Gradient, Granularity, IntegratedGradients

Path = Sequence[tuple[float, float]]
"""Points between corrupt (0) and clean (1), and their weights, whose sum is 1."""
Products = Callable[[Batch, Reference, Path], torch.Tensor]
"""Scores of a batch, shape (pairs, sources, destinations)."""
TOGETHER = 10
"""Runs whose streams are kept before they are multiplied with the sources: about what a backward pass keeps itself."""


def by_gradient(scorer: Gradient, study: Study, granularity: Granularity) -> Attribution:
    """EAP at `clean`; `clean_corrupted` is the trapezoidal rule with the two ends alone. Raises UsageError."""
    path = [(1.0, 1.0)] if scorer.at == "clean" else [(0.0, 0.5), (1.0, 0.5)]
    return _attribution(study, granularity, path, partial(_by_inputs, study))


def by_integrated_gradients(scorer: IntegratedGradients, study: Study, granularity: Granularity) -> Attribution:
    """EAP-IG. Raises UsageError.

    Along `activations`, the gradients while a stage (embedding, heads or MLP of a block) moves count for the edges out
    of that stage, and for no others; EAP-IG's code adds them to all edges, so that an edge gets gradients of paths on
    which its own source stood still.
    """
    along = _by_inputs if scorer.along == "inputs" else _by_activations
    return _attribution(study, granularity, points(scorer.rule, scorer.steps), partial(along, study))


def points(rule: str, steps: int) -> Path:
    """Points and weights of a rule of quadrature on [0, 1]."""
    if rule == "gauss":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return [(float(x + 1) / 2, float(w) / 2) for x, w in zip(nodes, weights, strict=True)]
    shift = {"left": 0.0, "midpoint": 0.5, "right": 1.0}[rule]
    return [((k + shift) / steps, 1 / steps) for k in range(steps)]


def _attribution(study: Study, granularity: str, path: Path, products: Products) -> Attribution:
    if study.target.type == "negative_divergence" and all(at == 1 for at, _ in path):
        raise UsageError(
            "target negative_divergence has its optimum, and so no gradient, at the clean run; choose the scorer "
            "`integrated_gradients`, or `gradient` at `clean_corrupted`, or another target"
        )
    graph = study.wiring.graph
    sources, destinations = graph.edges.T
    found: NDArray[np.float32] | None = None
    reference = reference_for(study.wiring, study.pairs, study.ablation, study.batch)
    done = 0
    for batch in batches(study.pairs, study.batch, study.wiring.lm.device):
        scores = products(batch, reference, path)
        # A node's output reaches the target through what reads it: its gradient is the sum of theirs.
        part = scores[:, sources, destinations] if granularity == "edge" else scores.sum(-1)
        if found is None:
            found = np.zeros((len(study.pairs), part.shape[1]), np.float32)
        found[list(batch.places)] = part.cpu().numpy()
        done += len(batch)
        study.progress(done, len(study.pairs))
    if found is None or not found.any():
        raise UsageError(
            "all scores are 0: the target does not change with any edge; choose another target or ablation, or pairs "
            "whose corrupt prompt is another one than the clean"
        )
    return Attribution(graph, granularity, found)


def _by_inputs(study: Study, batch: Batch, reference: Reference, path: Path) -> torch.Tensor:
    """The embedding moves, all else follows."""
    wiring, known = study.wiring, [at for at, _ in path]
    embed, everything, behind = wiring.embedding[1], list(stages(wiring)), list(readers(wiring))
    ends: dict[float, Values] = {}
    logits: torch.Tensor | None = None
    if 1.0 not in known:
        clean = record(wiring, batch.clean)
        ends[1.0], logits = clean.values, clean.logits
    if 0.0 not in known or study.ablation != "patching":
        ends[0.0] = reference(batch)
    with torch.no_grad():
        start = ends[0.0].embedded if 0.0 in ends else embed(batch.corrupt).float()
        shift = start - embed(batch.clean).float()
    difference: Values | None = None
    found = _nothing(study, batch)
    # The clean run first, since a target may compare with it; and both ends before anything is multiplied.
    for some in _portions(sorted(path, key=lambda point: (point[0] != 1, point[0]))):
        total = Gradients(behind, batch.clean.shape[1])
        for at, weight in some:
            keep = at in (0, 1) and difference is None and at not in ends
            measure = partial(_measured, study, batch, logits)
            made = run(wiring, batch.clean, measure, behind, everything[0], (1 - at) * shift, values=keep)
            total.add(made, weight)
            if made.values is not None:
                ends[at] = made.values
            if at == 1:
                logits = made.logits
            del made  # or two runs are held at once
        if difference is None:
            difference = ends.pop(0.0).minus(ends.pop(1.0))
        add_products(found, total, difference, everything)
    return found


def _by_activations(study: Study, batch: Batch, reference: Reference, path: Path) -> torch.Tensor:
    """One stage moves, what is before it stays clean."""
    wiring, found = study.wiring, _nothing(study, batch)
    clean = record(wiring, batch.clean)
    difference = reference(batch).minus(clean.values)
    measure = partial(_measured, study, batch, clean.logits)
    everything = list(readers(wiring))
    for stage in stages(wiring):
        behind = [reader for reader in everything if reader.sources > stage.sources.start]
        shift = stage.together(difference)
        for some in _portions(path):
            total = Gradients(behind, batch.clean.shape[1])
            for at, weight in some:
                total.add(run(wiring, batch.clean, measure, behind, stage, (1 - at) * shift), weight)
            add_products(found, total, difference, [stage])
    return found


def _measured(study: Study, batch: Batch, clean: torch.Tensor | None, logits: torch.Tensor) -> torch.Tensor:
    """The target; `clean` is None in the clean run itself."""
    return study.target.values(logits, batch, logits.detach() if clean is None else clean)


def _nothing(study: Study, batch: Batch) -> torch.Tensor:
    graph = study.wiring.graph
    return torch.zeros(len(batch), len(graph.sources), len(graph.destinations), device=batch.clean.device)


def _portions(path: Path) -> Iterator[Path]:
    for start in range(0, len(path), TOGETHER):
        yield path[start : start + TOGETHER]
