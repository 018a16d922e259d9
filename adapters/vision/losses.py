"""What training makes small, and the probabilities that the logits stand for.

Every loss is per image, so that a mean over batches is the mean over images. With `outputs` logits per image:

- `cross_entropy`, `focal`: one for each class; probabilities by softmax.
- `binary`: one for each class; each a probability of its own by the sigmoid, and they need not sum to one.
- `ordinal`: one for each step between classes, of P(y > k); the targets are CORAL's, without its shared weights.
- ratings: one, in units of the training ratings' standard deviation from their mean.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from ...errors import UsageError
from .networks import Activation
from .params import Design, Loss, RatingLoss


def outputs(loss: Loss | RatingLoss, classes: int) -> int:
    """Logits per image; `classes` is 0 for ratings. Raises UsageError when the loss does not fit what is learned."""
    if isinstance(loss, RatingLoss) != (classes == 0):
        what = f"{classes} classes" if classes else "ratings"
        raise UsageError(f"loss {loss.type!r} does not fit {what}; ratings take mse, mae or huber, classes the others")
    if classes == 1:
        raise UsageError("there is one class only; nothing can be learned")
    if isinstance(loss, RatingLoss):
        return 1
    return classes - 1 if loss.type == "ordinal" else classes


def activation(loss: Loss | RatingLoss) -> Activation:
    """What the predictions of auxiliary heads go through before the last layer: softmax for `cross_entropy` and
    `focal`, the sigmoid for `binary` and `ordinal`, nothing for ratings."""
    if isinstance(loss, RatingLoss):
        return _unchanged
    return torch.sigmoid if loss.type in ("binary", "ordinal") else _softmax


def _unchanged(logits: torch.Tensor) -> torch.Tensor:
    return logits


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    return logits.softmax(1)


def head_weights(design: Design, loss: Loss | RatingLoss) -> tuple[float, ...]:
    """Weights of the heads' losses; by default 1 for the answer and 0 for the others, which it teaches.

    Raises UsageError when the spec gives another number of them than there are heads, or nothing to learn from.
    """
    heads = design.heads
    if not loss.heads:
        return (0.0,) * (heads - 1) + (1.0,)
    if len(loss.heads) != heads:
        parts = "each branch, their features together, the final one" if heads > 1 else "the final one"
        raise UsageError(f"loss.heads: {len(loss.heads)} weights for {heads} heads; give one for {parts}")
    if min(loss.heads) < 0 or sum(loss.heads) == 0:
        raise UsageError("loss.heads: weights must not be negative, nor all 0")
    return loss.heads


def class_weights(loss: Loss | RatingLoss, targets: np.ndarray, classes: int) -> np.ndarray | None:
    """Weights (classes,) of the classes of the training targets (n,); None when all count the same.

    `balanced`: n / (classes · count), so that their mean over the images is 1; 0 for a class that has no image.
    """
    if isinstance(loss, RatingLoss) or loss.class_weights == "none":
        return None
    counts = np.bincount(targets, minlength=classes)
    return np.where(counts > 0, len(targets) / (classes * np.maximum(counts, 1)), 0.0)


def per_image(loss: Loss | RatingLoss, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Losses (n,) of logits (n, outputs): targets are class numbers, or standardised ratings.

    Label smoothing ε takes a target to (1 − ε) · target + ε / classes; ε / 2 where each output is a yes or no.
    """
    logits = logits.float()
    if isinstance(loss, RatingLoss):
        distances: dict[str, Callable[..., torch.Tensor]] = {
            "mse": functional.mse_loss,
            "mae": functional.l1_loss,
            "huber": functional.huber_loss,
        }
        return distances[loss.type](logits[:, 0], targets.float(), reduction="none")
    width, smoothing = logits.shape[1], loss.label_smoothing
    if loss.type in ("binary", "ordinal"):
        steps = torch.arange(width, device=logits.device)
        true = targets[:, None] == steps if loss.type == "binary" else targets[:, None] > steps
        wanted = true.float() * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)
    if loss.type == "cross_entropy":
        return functional.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    logs = logits.log_softmax(1)
    wanted = functional.one_hot(targets, width) * (1 - smoothing) + smoothing / width
    # Never quite 0, where the slope of a power below 1 is infinite.
    doubt = (-torch.expm1(logs)).clamp_min(torch.finfo(logs.dtype).tiny)
    return -(wanted * doubt**loss.focus * logs).sum(1)


def probabilities(loss: Loss | RatingLoss, logits: torch.Tensor) -> torch.Tensor:
    """Probabilities (n, classes), or ratings (n, 1), float64, of logits (n, outputs).

    `ordinal`: differences of P(y > k), each of which is first made no greater than the one before; so they are not
    negative and sum to one.
    """
    logits = logits.double()
    if isinstance(loss, RatingLoss):
        return logits
    if loss.type == "binary":
        return logits.sigmoid()
    if loss.type != "ordinal":
        return logits.softmax(1)
    beyond = logits.sigmoid().cummin(1).values
    certain, never = torch.ones_like(beyond[:, :1]), torch.zeros_like(beyond[:, :1])
    return torch.cat([certain, beyond], 1) - torch.cat([beyond, never], 1)


def score(loss: Loss | RatingLoss, logits: torch.Tensor, of_class: int) -> torch.Tensor:
    """What speaks for a class (n,), before it is squashed: its logit; `ordinal`: of being beyond the step below it,
    less that of being beyond the step above; the rating itself, whatever the class."""
    if isinstance(loss, RatingLoss):
        return logits[:, 0]
    if loss.type != "ordinal":
        return logits[:, of_class]
    below = logits[:, of_class - 1] if of_class > 0 else 0
    above = logits[:, of_class] if of_class < logits.shape[1] else 0
    found: torch.Tensor = below - above
    return found
