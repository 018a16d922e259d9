"""How the change of a weight follows from keys and values. Nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from .....components import Strict
from .options import Covariance, NotNegative, Positive

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .keys import Reading
    from .solve import Factors, Inverse


class OneKey(Strict):
    """What solvers of one request at one layer have in common."""

    covariance: Covariance | None = None
    """Without, all directions count alike."""
    key: Literal["bare", "mean"] = "bare"
    """Which input is mapped to the value, and which output is missing to it: those of the bare prompt (ROME), or the
    means over contexts (R-ROME). The direction is that of the mean over contexts either way."""
    precision: Literal["float32", "float64"] = "float32"
    """Of the covariance's inverse. ROME's authors invert in float32; where C is nearly singular that costs digits (a
    percent of the change at a condition number of 5e6), and float64 does not."""

    def change(self, reading: Reading, wanted: torch.Tensor, inverse: Inverse, rng: np.random.Generator) -> Factors:
        """See `solve.rank_one`; for one request."""
        from .solve import rank_one

        mean = reading.keys[0].mean(0)
        if self.key == "bare":
            return rank_one(mean, reading.keys[0, 0], wanted[0] - reading.outputs[0, 0], inverse)
        return rank_one(mean, mean, wanted[0] - reading.outputs[0].mean(0), inverse)


class RankOne(OneKey):
    """The key is mapped to the value exactly, in the direction that disturbs other keys least (ROME)."""

    type: Literal["rank_one"]


class RandomDirection(OneKey):
    """A control: a change with the norm of `rank_one`'s in a random direction. What it does, any change does."""

    type: Literal["random"]

    def change(self, reading: Reading, wanted: torch.Tensor, inverse: Inverse, rng: np.random.Generator) -> Factors:
        """See `solve.random_like`."""
        from .solve import random_like

        return random_like(super().change(reading, wanted, inverse, rng), rng)


class LeastSquares(Strict):
    """New keys against all others, weighed by their covariance, for many requests together (MEMIT, EMMET)."""

    precision: ClassVar[str] = "float64"
    type: Literal["least_squares"]
    covariance: Covariance
    covariance_weight: Positive = 15000.0
    """λ: how much the other keys weigh, in units of one new key."""
    slack: NotNegative = 1.0
    """How far new keys may miss their values: 1 is least squares (MEMIT), 0 meets them exactly (EMMET's constraint,
    which its authors relax to 0.1)."""

    def change(self, reading: Reading, wanted: torch.Tensor, inverse: Inverse, rng: np.random.Generator) -> Factors:
        """See `solve.least_squares`."""
        from .solve import least_squares

        weight = self.covariance_weight
        missing = wanted - reading.outputs[:, 0]
        return least_squares(reading.grouped_keys, missing, lambda rows: inverse(rows) / weight, self.slack)
