"""How the change of a weight follows from keys and values. Nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from .....components import Strict
from .options import Covariance, NotNegative, Positive

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .....artifacts import ArtifactStore
    from .keys import Reading
    from .solve import Factors, Inverse


class OneKey(Strict):
    """What solvers of one request at one layer have in common."""

    remember: ClassVar[bool] = False
    covariance: Covariance | None = None
    """Without, all directions count alike."""
    key: Literal["bare", "mean"] = "bare"
    """Which input is mapped to the value, and which output is missing to it: those of the bare prompt (ROME), or the
    means over contexts (R-ROME). The direction is that of the mean over contexts either way."""
    precision: Literal["float32", "float64"] = "float32"
    """Of the covariance's inverse. ROME's authors invert in float32; where C is nearly singular that costs digits (a
    percent of the change at a condition number of 5e6), and float64 does not."""

    def inverse(self, moment: torch.Tensor, name: str, artifacts: ArtifactStore) -> Inverse:
        """What the solver makes of the second moment of `name`'s inputs."""
        from .solve import inverse_of

        assert self.covariance is not None
        return inverse_of(moment, self.covariance.ridge, self.precision, name)

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


class ManyKeys(Strict):
    """What solvers of many requests together have in common."""

    covariance: Covariance

    def change(self, reading: Reading, wanted: torch.Tensor, inverse: Inverse, rng: np.random.Generator) -> Factors:
        """See `solve.least_squares`."""
        from .solve import least_squares

        return least_squares(reading.grouped_keys, wanted - reading.outputs[:, 0], inverse, self.missing_by())

    def missing_by(self) -> float:
        """How far new keys may miss their values; see `solve.least_squares`."""
        return 1.0


class LeastSquares(ManyKeys):
    """New keys against all others, weighed by their covariance, for many requests together (MEMIT, EMMET)."""

    type: Literal["least_squares"]
    covariance_weight: Positive = 15000.0
    """λ: how much the other keys weigh, in units of one new key."""
    slack: NotNegative = 1.0
    """How far new keys may miss their values: 1 is least squares (MEMIT), 0 meets them exactly (EMMET's constraint,
    which its authors relax to 0.1)."""
    remember: bool = False
    """Whether the keys of earlier requests of a sequence weigh as new ones do; the state of the sequence holds them."""

    def inverse(self, moment: torch.Tensor, name: str, artifacts: ArtifactStore) -> Inverse:
        """(λ C)⁻¹."""
        from .solve import inverse_of

        known, weight = inverse_of(moment, self.covariance.ridge, "float64", name), self.covariance_weight
        return lambda rows: known(rows) / weight

    def missing_by(self) -> float:
        """See ManyKeys."""
        return self.slack


class NullSpace(ManyKeys):
    """New keys outside of the directions that the other keys use (AlphaEdit, Fang et al. 2025, arXiv 2410.02355).

    ΔW = R Kᵀ P (P (K Kᵀ + K_p K_pᵀ) P + λ)⁻¹, P the projection on the directions in which the second moment of ordinary
    keys is small, K_p the keys of earlier requests.
    """

    type: Literal["null_space"]
    threshold: Positive | None = None
    """Directions are free whose eigenvalue of C is below: the paper says 1e-2, the authors' code has 2e-2. What fits
    depends on the size of a model's activations."""
    rank: Annotated[int, Field(ge=0)] | None = None
    """Another way to say it: how many directions, those of the largest eigenvalues, are protected."""
    ridge: Positive = 10.0
    """λ: what the change itself costs, in units of one new key."""
    remember: bool = True
    """Whether the keys of earlier requests of a sequence are left alone, too; the state of the sequence holds them."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> NullSpace:
        if (self.threshold is None) == (self.rank is None):
            raise ValueError("give either threshold (below which an eigenvalue's direction is free) or rank")
        return self

    def inverse(self, moment: torch.Tensor, name: str, artifacts: ArtifactStore) -> Inverse:
        """P / λ."""
        from .prepared import protected
        from .solve import outside

        free, weight = outside(protected(self, moment, name, artifacts)), self.ridge
        return lambda rows: free(rows) / weight
