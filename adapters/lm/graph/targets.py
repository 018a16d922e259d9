"""From logits to numbers: what is looked for in them, of answers, and of a pair's answers against its wrong ones."""

from __future__ import annotations

import torch

from .pairs import Batch


def logit_difference(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean logit of the answers less mean logit of the wrong ones; logits of shape (pairs, vocabulary)."""
    return _mean(logits, batch.answer) - _mean(logits, batch.wrong)


def probability_difference(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Probability of the answers together, less that of the wrong ones together."""
    log = logits.log_softmax(-1)
    return _of_answers(log, batch.answer).logsumexp(-1).exp() - _of_answers(log, batch.wrong).logsumexp(-1).exp()


def negative_divergence(logits: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """-KL(clean ‖ logits), in nats."""
    mine, theirs = logits.log_softmax(-1), clean.log_softmax(-1)
    return (theirs.exp() * (mine - theirs)).sum(-1)


def log_probability(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Log-probability of the answers together, in nats, shape (rows, …).

    logits: shape (rows, …, vocabulary); answers: token ids of each row, shape (rows, most), filled up with -1.
    """
    return _of_answers(logits.log_softmax(-1), answers).logsumexp(-1)


def probability(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Probability of the answers together, shape (rows, …). Shapes as in `log_probability`."""
    return log_probability(logits, answers).exp()


def rank(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """How many tokens are above the best answer, shape (rows, …); 0 at best. Shapes as in `log_probability`."""
    best = _of_answers(logits, answers).amax(-1)
    return (logits > best[..., None]).sum(-1)


def _mean(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    given = tokens >= 0
    found = logits.gather(1, tokens.clamp(min=0)).masked_fill(~given, 0)
    return found.sum(-1) / given.sum(-1).clamp(min=1)


def _of_answers(values: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """The values of the answers, shape (rows, …, most); -inf where there is none."""
    ids = answers.view(len(answers), *[1] * (values.dim() - 2), -1).expand(*values.shape[:-1], -1)
    return values.gather(-1, ids.clamp(min=0)).masked_fill(ids < 0, -torch.inf)
