"""Changes of a weight W that map keys to values; pure functions of float64 tensors.

A change is given as factors: ΔW = left @ right with left (outputs, rank) and right (rank, inputs).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .....errors import DataError

Factors = tuple[torch.Tensor, torch.Tensor]

Inverse = Callable[[torch.Tensor], torch.Tensor]
"""Applies the inverse of the keys' second moment C to each row of a tensor of shape (rows, inputs)."""


def unweighted(rows: torch.Tensor) -> torch.Tensor:
    """The inverse of C = 1: no statistics, all directions of the key space count alike."""
    return rows


def regular(moment: torch.Tensor, ridge: float) -> torch.Tensor:
    """A second moment in float64, with a share of its mean diagonal added to the diagonal."""
    moment = moment.double()
    unit = torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
    return moment + ridge * moment.diagonal().mean() * unit


def inverse_of(moment: torch.Tensor, ridge: float, precision: str, name: str) -> Inverse:
    """The inverse of a second moment, shape (inputs, inputs): by its Cholesky factor in float64, or explicitly in
    float32, as ROME's authors do.

    `ridge`: what is added to the diagonal, as a share of its mean. Raises DataError when the moment is singular.
    """
    moment = regular(moment, ridge)
    factor, info = torch.linalg.cholesky_ex(moment)
    if info.item():
        raise DataError(
            f"the covariance of {name}'s inputs is singular, so it cannot be inverted; "
            "estimate it from more samples, or give it a `ridge` such as 1e-2"
        )
    if precision == "float32":
        explicit = torch.linalg.inv(moment.float())
        return lambda rows: (rows.float().to(explicit.device) @ explicit.T).double()
    return lambda rows: torch.cholesky_solve(rows.double().to(factor.device).T, factor).T


def outside(protected: torch.Tensor) -> Inverse:
    """Applies the projection on what is orthogonal to `protected`, orthonormal columns of shape (inputs, directions).

    It is the inverse of a second moment that is without bound along these and 1 elsewhere.
    """

    def applied(rows: torch.Tensor) -> torch.Tensor:
        rows = rows.double().to(protected.device)
        return rows - (rows @ protected) @ protected.T

    return applied


def largest_directions(moment: torch.Tensor, threshold: float | None, rank: int | None) -> torch.Tensor:
    """Eigenvectors of a second moment, shape (inputs, found), float64: the `rank` largest, or those with an eigenvalue
    of at least `threshold`."""
    values, vectors = torch.linalg.eigh(moment.double())
    return vectors[:, values >= threshold] if rank is None else vectors[:, max(0, len(values) - rank) :]


def with_keys(inverse: Inverse, keys: torch.Tensor) -> Inverse:
    """The inverse of C + K Kᵀ from that of C, by Woodbury's identity; `keys`: Kᵀ, shape (count, inputs)."""
    whitened = inverse(keys.double())
    gram = keys.double().to(whitened.device) @ whitened.T
    gram = gram + torch.eye(len(keys), dtype=gram.dtype, device=gram.device)

    def applied(rows: torch.Tensor) -> torch.Tensor:
        plain = inverse(rows)
        return plain - torch.linalg.solve(gram, whitened @ rows.double().to(whitened.device).T).T @ whitened

    return applied


def rank_one(direction: torch.Tensor, key: torch.Tensor, residual: torch.Tensor, inverse: Inverse) -> Factors:
    """The change of rank one with (W + ΔW) k = W k + residual that disturbs other keys least (ROME, equation 2).

    `direction`: the key that ΔW answers to, usually a mean over contexts, shape (inputs,); `key`: the k that is mapped
    exactly; `residual`: shape (outputs,).
    """
    u = inverse(direction.double()[None])[0]
    u = u / u.norm()
    return (residual.double() / (key.double() @ u))[:, None], u[None]


def least_squares(keys: torch.Tensor, residuals: torch.Tensor, inverse: Inverse, slack: float) -> Factors:
    """The change that trades the residuals of new keys against the answers to all others.

    `keys`: K of shape (requests, inputs); `residuals`: R of shape (requests, outputs). In columns,
    ΔW = R (Kᵀ C⁻¹ K + slack)⁻¹ Kᵀ C⁻¹. With `slack` 1 this is MEMIT's R Kᵀ (C + K Kᵀ)⁻¹ (equation 14), by Woodbury's
    identity; with 0 every residual is met exactly (EMMET, Gupta et al. 2024, arXiv 2403.14236, which adds a small one).
    With P / λ for C⁻¹, P a projection, and `slack` 1 it is AlphaEdit's R Kᵀ P (P K Kᵀ P + λ)⁻¹ (Fang et al. 2025, arXiv
    2410.02355, equation 12); see `with_keys` for its K_p.
    """
    keys, residuals = keys.double(), residuals.double()
    whitened = inverse(keys)
    gram = keys @ whitened.T
    gram = gram + slack * torch.eye(len(keys), dtype=gram.dtype, device=gram.device)
    return residuals.T, torch.linalg.solve(gram, whitened)


def random_like(factors: Factors, rng: np.random.Generator) -> Factors:
    """A change of rank one with the same Frobenius norm in a random direction."""
    left, right = factors
    norm = left.norm() * right.norm()
    x, y = (torch.from_numpy(rng.standard_normal(n)).to(left) for n in (left.shape[0], right.shape[1]))
    return (x / x.norm() * norm)[:, None], (y / y.norm())[None]
