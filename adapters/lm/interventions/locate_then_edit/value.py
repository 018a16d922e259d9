"""What should come out at the site: a vector found by gradient descent, for many requests at once.

Meng et al. 2022 (arXiv 2202.05262, section 3.1), as the authors' code does it. Requests share nothing but the forward
pass: each has a vector, an optimizer's state and an end of its own, so a batch gives what one by one would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import torch

from .....errors import Skip
from ...architecture import blocks
from ...forward import Tokens, only_at, padded
from ...model import LanguageModel
from ...resumed import Lower, added, lower, resumed
from .contexts import Filled
from .keys import place

if TYPE_CHECKING:
    from .options import Value


def value_deltas(
    lm: LanguageModel, filled: Sequence[Filled], initial: torch.Tensor, value: Value, layer: int, batch_size: int
) -> torch.Tensor:
    """What to add to the output at the site, shape (requests, width), float32.

    `initial`: the output in the bare prompt, of the same shape. Raises Skip for a `loss_layer` that does not exist or
    lies below the site.
    """
    count = len(blocks(lm.model)[1])
    last = count - 1 if value.loss_layer is None else value.loss_layer
    if not layer <= last < count:
        raise Skip(f"loss_layer {last} is not between the edited layer {layer} and the last one, {count - 1}")
    chunks = [slice(start, start + batch_size) for start in range(0, len(filled), batch_size)]
    return torch.cat([_optimised(lm, filled[c], initial[c], value, layer, last) for c in chunks])


def _optimised(
    lm: LanguageModel, filled: Sequence[Filled], initial: torch.Tensor, value: Value, layer: int, last: int
) -> torch.Tensor:
    objective = _Objective(lm, filled, value, layer, last)
    sizes = initial.norm(dim=1)
    # One parameter for each request: Adam passes over those without a gradient, so what has stopped stays as it is.
    deltas = [torch.zeros_like(h, requires_grad=True) for h in initial]
    adam = torch.optim.Adam(deltas, lr=value.lr)
    active = list(range(len(filled)))
    for step in range(value.steps):
        with torch.enable_grad():
            losses = objective.losses(active, torch.stack([deltas[i] for i in active]), sizes[active])
        # Also a loss that is no number ends the search, before it spoils the vector.
        going = losses.detach() >= value.stop_loss
        active = [i for i, goes in zip(active, going.tolist(), strict=True) if goes]
        if not active or step == value.steps - 1:
            break
        gradients = torch.autograd.grad(losses[going].sum(), [deltas[i] for i in active])
        adam.zero_grad(set_to_none=True)
        for i, gradient in zip(active, gradients, strict=True):
            deltas[i].grad = gradient
        adam.step()
        with torch.no_grad():
            for i in active:
                longest = value.clamp_norm_factor * sizes[i]
                deltas[i].mul_((longest / deltas[i].norm()).clamp(max=1))
    return torch.stack([delta.detach() for delta in deltas])


@dataclass(frozen=True)
class _Batch:
    """The rows of the requests that are still optimised, those of each request together, its essence last."""

    numbers: list[int]
    """Places of the rows among those of all requests."""
    rows: list[Tokens]
    owners: torch.Tensor
    """Which active request each row belongs to."""
    subjects: torch.Tensor
    """Place of the subject's last token in each row."""
    asked: list[Sequence[int]]
    """Where the logits of each row are needed."""
    targets: torch.Tensor
    """Token that should follow at each of the places asked of rows with a target."""
    weights: torch.Tensor
    """Share of each such place in the loss of its request."""
    target_owners: torch.Tensor
    essential: torch.Tensor
    """Whether a place is one of an essence; in the order of `asked`."""
    ends: list[int]
    """Last token of each row's prompt."""


def _batch(filled: Sequence[Filled], active: Sequence[int], device: torch.device) -> _Batch:
    first = [0]
    for f in filled:
        first.append(first[-1] + len(f.rows) + 1)
    some = [filled[i] for i in active]
    # The last token of a target answers nothing, so it is not asked.
    rows: list[Tokens] = [ids for f in some for ids in (*(r.ids[:-1] for r in f.rows), f.essence)]
    asked: list[Sequence[int]] = [p for f in some for p in (*(r.places for r in f.rows), [f.essence_subject])]
    shares = [[1 / len(r.target) / len(f.rows)] * len(r.target) for f in some for r in f.rows]
    essences = [e for f in some for e in (*(False for _ in f.rows), True)]
    return _Batch(
        numbers=[n for i in active for n in range(first[i], first[i + 1])],
        rows=rows,
        owners=torch.tensor([o for o, f in enumerate(some) for _ in range(len(f.rows) + 1)], device=device),
        subjects=torch.tensor([s for f in some for s in (*f.subject, f.essence_subject)], device=device),
        asked=asked,
        targets=torch.tensor([t for f in some for r in f.rows for t in r.target], device=device),
        weights=torch.tensor(list(chain(*shares)), device=device),
        target_owners=torch.tensor([o for o, f in enumerate(some) for r in f.rows for _ in r.target], device=device),
        essential=torch.tensor([e for e, places in zip(essences, asked, strict=True) for _ in places], device=device),
        ends=[end for f in some for end in (*(r.start - 1 for r in f.rows), len(f.essence) - 1)],
    )


class _Objective:
    """The loss of each request, as a function of what is added at its site."""

    def __init__(self, lm: LanguageModel, filled: Sequence[Filled], value: Value, layer: int, last: int) -> None:
        self.lm, self.filled, self.value, self.last = lm, filled, value, last
        self.module = place(lm, value.at, layer)
        self.batch = _batch(filled, range(len(filled)), lm.device)
        # What is added behind a block leaves that block as it was, too.
        start = layer if value.at == "mlp" else layer + 1
        self.below: Lower = lower(lm, self.batch.rows, start, self.batch.ends)
        self.active = list(range(len(filled)))
        self.before: torch.Tensor | None = None
        """Log-probabilities of the untouched model at the essences, shape (requests, vocabulary)."""

    def losses(self, active: list[int], deltas: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """Loss of each active request; the first call must be with deltas of zero. `sizes`: norms of the outputs."""
        if active != self.active:
            self.active, self.batch = active, _batch(self.filled, active, self.lm.device)
        batch, value = self.batch, self.value
        logs = self._logits(batch, deltas).log_softmax(-1)
        essence, target = logs[batch.essential], logs[~batch.essential]
        nll = -target.gather(1, batch.targets[:, None])[:, 0] * batch.weights
        if self.before is None:
            self.before = essence.detach()
        before = self.before[active]
        # This direction, as in the authors' code: what the changed model says, measured by the untouched one.
        divergence = (essence.exp() * (essence - before)).sum(-1)
        decay = deltas.norm(dim=1) / sizes**2
        fit = torch.zeros_like(divergence).index_add(0, batch.target_owners, nll)
        return fit + value.kl_factor * divergence + value.weight_decay * decay.to(fit)

    def _logits(self, batch: _Batch, deltas: torch.Tensor) -> torch.Tensor:
        """Logits at the places asked, shape (places, vocabulary), float32."""
        rows = torch.arange(len(batch.rows), device=deltas.device)
        vectors = deltas[batch.owners.to(deltas.device)]
        inputs = padded(batch.rows, self.lm.device)
        with (
            self.lm.asking(batch.ends, [0] * len(batch.rows)),
            resumed(self.lm, self.below, batch.numbers, inputs["input_ids"].shape[1], self.last),
            added(self.lm, self.module, rows, batch.subjects, vectors),
            only_at(self.lm, batch.asked),
        ):
            logits = self.lm.model(**inputs, use_cache=False).logits
        return logits[0].float().to(self.lm.device)
