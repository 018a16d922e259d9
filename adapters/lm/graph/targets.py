"""From the logits at the end of a prompt to one number for each pair."""

from __future__ import annotations

import torch

from .pairs import Batch


def logit_difference(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean logit of the answers less mean logit of the wrong ones; logits of shape (pairs, vocabulary)."""
    return _mean(logits, batch.answer) - _mean(logits, batch.wrong)


def probability_difference(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Probability of the answers together, less that of the wrong ones together."""
    log = logits.log_softmax(-1)
    return _together(log, batch.answer).exp() - _together(log, batch.wrong).exp()


def log_probability(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Log-probability of the answers together, in nats."""
    return _together(logits.log_softmax(-1), batch.answer)


def negative_divergence(logits: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """-KL(clean ‖ logits), in nats."""
    mine, theirs = logits.log_softmax(-1), clean.log_softmax(-1)
    return (theirs.exp() * (mine - theirs)).sum(-1)


def rank(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """How many tokens are more probable than the best answer, shape (pairs,); 0 at best."""
    best = logits.gather(1, batch.answer.clamp(min=0)).masked_fill(batch.answer < 0, -torch.inf).amax(-1)
    return (logits > best[:, None]).sum(-1)


def _mean(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    given = tokens >= 0
    found = logits.gather(1, tokens.clamp(min=0)).masked_fill(~given, 0)
    return found.sum(-1) / given.sum(-1).clamp(min=1)


def _together(log: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return log.gather(1, tokens.clamp(min=0)).masked_fill(tokens < 0, -torch.inf).logsumexp(-1)
