"""UltraEdit: normalised gradients and one least-squares problem; nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...architecture import Linear
from ...model import LanguageModel
from ...patch import Patch
from ...scoring import Row
from .gradients import Factors, TokenGradients
from .least_squares import least_squares, projections, together
from .normalisation import Normalisation, Shape, nothing_seen

if TYPE_CHECKING:
    from .. import State
    from .params import UltraEdit


def edit(spec: UltraEdit, lm: LanguageModel, rows: Sequence[Row], state: State) -> tuple[Patch, State]:
    """The patch of one batch, and the statistics after it."""
    edited, _ = projections(spec.sites, lm)
    shapes = shapes_of(edited)
    seen = nothing_seen(shapes, lm.device) if state is None else {n: t.to(lm.device) for n, t in state.items()}
    statistics = Normalisation(shapes, seen)

    def observed(gradients: Sequence[TokenGradients]) -> Callable[[int, TokenGradients], Factors]:
        statistics.observe(gradients)

        def change(weight: int, tokens: TokenGradients) -> Factors:
            inputs, outputs = statistics.split(weight, statistics.normalised(weight, tokens))
            values = -spec.lr * inputs.square().sum(-1, keepdim=True) * outputs
            return least_squares(tokens.inputs, values, spec.penalty)

        return change

    return together(lm, edited, observed, rows, spec.tokens == "answer", spec.batch_size), statistics.seen()


def shapes_of(edited: Sequence[Linear]) -> list[Shape]:
    """(outputs, inputs) of each weight."""
    return [(rows, columns) for rows, columns in (p.stored(p.module.weight).shape for p in edited)]
