"""What is done to the change of a weight after it was solved for. Nothing heavy is imported here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from .....components import Strict

if TYPE_CHECKING:
    import torch

    from ...model import LanguageModel
    from ...patch import Patch
    from .. import State

TOTAL, LARGEST = "unbounded:", "largest:"
"""First words of names in a state: of the change of a weight without the bound, of a weight's largest singular value
before any change."""


class Constraint(Strict):
    """Nothing is done."""

    def each(self, lm: LanguageModel, patch: Patch) -> Patch:
        """What to apply in place of the change that one solution gives; the model is without it."""
        return patch

    def lifted(self, lm: LanguageModel, state: State) -> Patch:
        """What gives back what an earlier edit of the sequence was denied, so that the next one is solved for
        without it."""
        from ...patch import Patch

        return Patch()

    def whole(self, lm: LanguageModel, patch: Patch, state: State) -> tuple[Patch, State]:
        """What to apply in place of what one call made (on the model with `lifted`), relative to the model as it is
        now, and what the next call has to know."""
        return patch, state


class RelativeChange(Constraint):
    """Only the weights that change most, relative to what they were, are changed (RECT, Gu et al. 2024, arXiv
    2401.04700, section 5).

    It is asked anew for each change: of one request, or of all that are solved for together.
    """

    type: Literal["relative_change"]
    keep: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of a matrix's weights that are changed. The authors' code (for ROME) leaves 0.2; AlphaEdit's comparison
    (for MEMIT) leaves 0.4."""

    def each(self, lm: LanguageModel, patch: Patch) -> Patch:
        """See `largest_relative`."""
        from ...patch import Patch, dense

        changes = {
            name: largest_relative(dense(delta), lm.model.get_parameter(name).detach(), self.keep)
            for name, delta in patch.deltas.items()
        }
        return Patch(changes)


class SingularValues(Constraint):
    """No singular value of the total change is much larger than the largest of the weight before it (PRUNE, Ma et al.
    2025, arXiv 2405.16821, section 4.2): σ above that one, σ₀, becomes log σ − log σ₀ + σ₀.

    The paper bounds once, after the last edit of a sequence. So the state holds the change without the bound: each edit
    is solved for on that, and what is applied is the bounded one, whenever it is asked for.
    """

    type: Literal["singular_values"]
    base: Annotated[float, Field(gt=1)] = math.e
    """Of the logarithm; the authors also tried 2, 1.5 and 1.2, which bound less."""

    def lifted(self, lm: LanguageModel, state: State) -> Patch:
        """See Constraint."""
        from ...patch import Patch

        return Patch({name: total - self._bounded(name, total, state) for name, total in _totals(state).items()})

    def whole(self, lm: LanguageModel, patch: Patch, state: State) -> tuple[Patch, State]:
        """See Constraint."""
        import torch

        from ...patch import Patch, dense

        before, known, applied = _totals(state), dict(state or {}), {}
        for name, delta in patch.deltas.items():
            if name not in before:
                weight = lm.model.get_parameter(name).detach().float()
                known[LARGEST + name] = torch.linalg.matrix_norm(weight, ord=2).reshape(1).cpu()
            change = dense(delta).float()
            total = before[name].to(change) + change if name in before else change
            known[TOTAL + name] = total.cpu()
            was = self._bounded(name, before[name], state).to(change) if name in before else 0
            applied[name] = self._bounded(name, total, known) - was
        return Patch(applied), known

    def _bounded(self, name: str, total: torch.Tensor, state: Any) -> torch.Tensor:
        return bounded(total, float(state[LARGEST + name]), self.base)


def _totals(state: State) -> dict[str, torch.Tensor]:
    return {name.removeprefix(TOTAL): t for name, t in (state or {}).items() if name.startswith(TOTAL)}


def largest_relative(change: torch.Tensor, weight: torch.Tensor, keep: float) -> torch.Tensor:
    """`change` where |change / weight| is among the largest `keep` of all, else 0; a weight of 0 counts as the
    smallest, however it changes, where the change is 0, and as the largest elsewhere."""
    import torch

    ratio = (change.float() / weight.to(change)).abs().nan_to_num(nan=0.0, posinf=torch.inf).flatten()
    left = max(1, round(keep * ratio.numel()))
    chosen = torch.zeros_like(ratio, dtype=torch.bool)
    # Stable, so that equal ratios are chosen alike everywhere.
    chosen[ratio.argsort(descending=True, stable=True)[:left]] = True
    return torch.where(chosen.reshape(change.shape), change, 0.0)


def bounded(total: torch.Tensor, largest: float, base: float) -> torch.Tensor:
    """`total`, of shape (rows, columns), with its singular values above `largest` brought down; see SingularValues."""
    import torch

    left, values, right = torch.linalg.svd(total.double(), full_matrices=False)
    above = values > largest
    if not above.any():
        return total
    less = values[above] - (values[above] / largest).log() / math.log(base) - largest
    return total - ((left[:, above] * less) @ right[above]).to(total)
