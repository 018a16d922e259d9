"""The number that an analysis is about, and what stands in for what is taken away. Nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from ....components import Strict

if TYPE_CHECKING:
    import torch

    from .pairs import Batch

Ablation: TypeAlias = Literal["patching", "zero", "mean", "mean_positional"]
"""What a source is replaced with: its value on the corrupt prompt (`patching`), nothing, its mean over all clean
prompts and positions, its mean over all clean prompts at the same position."""


class LogitDifference(Strict):
    """Mean logit of the right answers less mean logit of the wrong ones."""

    type: Literal["logit_difference"]

    def values(self, logits: torch.Tensor, batch: Batch, clean: torch.Tensor | None) -> torch.Tensor:
        """Shape (pairs,)."""
        from .targets import logit_difference

        return logit_difference(logits, batch)


class ProbabilityDifference(Strict):
    """Probability of the right answers, all together, less that of the wrong ones (Hanna et al. 2023, Greater-than)."""

    type: Literal["probability_difference"]

    def values(self, logits: torch.Tensor, batch: Batch, clean: torch.Tensor | None) -> torch.Tensor:
        """Shape (pairs,)."""
        from .targets import probability_difference

        return probability_difference(logits, batch)


class LogProbability(Strict):
    """Log-probability of the right answers, all together; what Knowledge Circuits calls match_nll, with its sign."""

    type: Literal["log_probability"]

    def values(self, logits: torch.Tensor, batch: Batch, clean: torch.Tensor | None) -> torch.Tensor:
        """Shape (pairs,), in nats."""
        from .targets import log_probability

        return log_probability(logits, batch.answer)


class NegativeDivergence(Strict):
    """Minus the Kullback-Leibler divergence of the model's own distribution from this one; 0 at best.

    Its gradient at the untouched model is zero, so a scorer that looks there alone is refused.
    """

    type: Literal["negative_divergence"]

    def values(self, logits: torch.Tensor, batch: Batch, clean: torch.Tensor | None) -> torch.Tensor:
        """Shape (pairs,), in nats; `clean` are the untouched model's logits."""
        from .targets import negative_divergence

        assert clean is not None
        return negative_divergence(logits, clean)


Target = Annotated[
    LogitDifference | ProbabilityDifference | LogProbability | NegativeDivergence, Field(discriminator="type")
]
"""What a circuit is for; higher is better."""
