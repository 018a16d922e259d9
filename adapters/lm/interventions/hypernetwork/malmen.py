"""MALMEN and RLEdit: a trained network turns token gradients into values, least squares joins those of all edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from .....job import Job
from ...architecture import Linear
from ...model import LanguageModel
from ...patch import Patch
from ...scoring import Row
from .artifact import trained
from .gradients import Factors, TokenGradients
from .least_squares import least_squares, projections, together
from .network import BLOCKS, Hypernetwork, untrained
from .sequences import train
from .ultraedit import shapes_of

if TYPE_CHECKING:
    from .. import State
    from .params import Malmen


def network_of(spec: Malmen, lm: LanguageModel, job: Job) -> Hypernetwork:
    """The trained network, which is an artifact. Raises Skip."""
    edited, start = projections(spec.sites, lm)
    shapes, layers = shapes_of(edited), BLOCKS[: spec.blocks]

    def build(name: str) -> Hypernetwork:
        made = untrained(
            shapes, spec.rank, spec.edit_lr, lambda part: job.rng(f"{name}-network", part), lm.device, layers, "outside"
        )
        # Its logarithm: a penalty of 1 before training.
        made.tensors["penalties"] = torch.zeros(len(shapes), device=lm.device)
        return made

    tensors = trained(
        spec,
        lm,
        job,
        build,
        lambda found, network, rng: train(spec, lm, found, edited, start, network, change_of(network), rng),
    )
    return Hypernetwork(shapes, tensors, layers, "outside")


def change_of(network: Hypernetwork) -> Callable[[int, TokenGradients], Factors]:
    """What makes of the tokens of all edits the change of a weight: section 3.2 of arXiv 2311.04661.

    The network's edit of one token is −rate · δ̃ũᵀ, which adds −rate · (ũ·u) δ̃ to what comes out at this token: these
    are the values of the least-squares problem, the inputs u as they are its keys.
    """

    def change(weight: int, tokens: TokenGradients) -> Factors:
        inputs, outputs = network.passed(weight, tokens)
        values = -network.tensors["rates"][weight] * (tokens.inputs * inputs).sum(-1, keepdim=True) * outputs
        return least_squares(tokens.inputs, values, network.tensors["penalties"][weight].exp())

    return change


def edit(
    spec: Malmen, lm: LanguageModel, trained_network: Hypernetwork, rows: Sequence[Row], state: State
) -> tuple[Patch, State]:
    """The patch of one batch, and the statistics after it where they go on."""
    edited: list[Linear]
    edited, _ = projections(spec.sites, lm)
    seen = {n: t.to(lm.device) for n, t in (state or {}).items()}
    network = Hypernetwork(shapes_of(edited), trained_network.tensors | seen, BLOCKS[: spec.blocks], "outside")

    def observed(gradients: Sequence[TokenGradients]) -> Callable[[int, TokenGradients], Factors]:
        if spec.statistics == "lifelong":
            network.observe(gradients)
        return change_of(network)

    patch = together(lm, edited, observed, rows, spec.tokens == "answer", spec.batch_size)
    return patch, network.seen() if spec.statistics == "lifelong" else None
