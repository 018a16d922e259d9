"""One change of a weight that does for many tokens what the change of each alone would do: the normal equation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from ...architecture import Linear, linear
from ...model import LanguageModel
from ...patch import Patch
from ...scoring import Row
from .gradients import Factors, TokenGradients, gathered
from .mend import change_of

if TYPE_CHECKING:
    from .params import Site


def projections(sites: Sequence[Site], lm: LanguageModel) -> tuple[list[Linear], int]:
    """The edited projections, from the lowest block on, and that block. Raises Skip, ModelError."""
    places = sorted({(layer, site.module) for site in sites for layer in site.layers})
    return [linear(lm.model, layer, role) for layer, role in places], places[0][0]


def least_squares(keys: torch.Tensor, values: torch.Tensor, penalty: torch.Tensor | float) -> Factors:
    """The S, shape (outputs, inputs), that makes Σ |S kᵢ − vᵢ|² + penalty · |S|² smallest; as factors.

    Eq. 5 of arXiv 2311.04661: Sᵀ = (KᵀK + penalty · I)⁻¹ Kᵀ V, with the tokens as rows of K (tokens, inputs) and V
    (tokens, outputs). Where there are fewer tokens than inputs it is computed as Kᵀ (KKᵀ + penalty · I)⁻¹ V, which is
    the same and smaller. In float64; differentiable in `values` and `penalty`.
    """
    k, v = keys.double(), values.double()
    tokens, inputs = k.shape
    identity = torch.eye(min(tokens, inputs), dtype=k.dtype, device=k.device)
    if tokens <= inputs:
        return Factors(torch.linalg.solve(k @ k.T + penalty * identity, v).float(), keys, (tokens,))
    left = torch.linalg.solve(k.T @ k + penalty * identity, k.T @ v).float()
    return Factors(left, identity.float(), (inputs,))


def patch_of(edited: Sequence[Linear], factors: Sequence[Factors]) -> Patch:
    """The low-rank patch of one change for each weight."""
    changes = zip(edited, factors, strict=True)
    return Patch({p.weight_name: change_of(p, f.left.detach(), f.right.detach()) for p, f in changes})


@torch.no_grad()
def together(
    lm: LanguageModel,
    edited: Sequence[Linear],
    observed: Callable[[Sequence[TokenGradients]], Callable[[int, TokenGradients], Factors]],
    rows: Sequence[Row],
    answers: bool,
    batch_size: int,
) -> Patch:
    """The patch of rows that are edited together; `observed` is shown the tokens of all weights, and gives what makes
    of one weight's tokens its change. `nll` in the notes: the losses whose gradients were taken."""
    tokens, nll = gathered(lm, rows, edited, "answer" if answers else "all", batch_size)
    change = observed(tokens)
    patch = patch_of(edited, [change(weight, of_weight) for weight, of_weight in enumerate(tokens)])
    return Patch(patch.deltas, notes={"nll": nll})
