"""What should come out at the site: a vector found by gradient descent, for many requests at once.

Meng et al. 2022 (arXiv 2202.05262, section 3.1), as the authors' code does it. Requests share nothing but the forward
pass: each has a vector, an optimizer's state and an end of its own, so a batch gives what one by one would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import torch

from .....errors import Skip
from ...architecture import blocks
from ...forward import Tokens, recorded
from ...losses import Predictions
from ...model import LanguageModel
from ...prefixes import bare
from ...resumed import added
from ...scoring import batches
from .contexts import Filled
from .keys import moved

if TYPE_CHECKING:
    from .options import Value


def value_deltas(
    lm: LanguageModel, filled: Sequence[Filled], initial: torch.Tensor, value: Value, layer: int, batch_size: int
) -> torch.Tensor:
    """What to add to the output at the site, shape (requests, width), float32.

    `initial`: the output in the bare prompt, of the same shape. Where the attention's output is moved along, what is
    added to that is not returned: it is not written into a weight. Raises Skip for a `loss_layer` that does not exist
    or lies below the site.
    """
    count = len(blocks(lm.model)[1])
    last = count - 1 if value.loss_layer is None else value.loss_layer
    if not layer <= last < count:
        raise Skip(f"loss_layer {last} is not between the edited layer {layer} and the last one, {count - 1}")
    deltas = torch.zeros_like(initial)
    ends = [f.rows[0].ids[f.subject[0] :] for f in filled]
    # What stands before the subject is computed once (prefixes.py), so it is their ends that should have like lengths.
    for batch in batches(ends, batch_size):
        some, own = [filled[i] for i in batch], initial[batch]
        deltas[batch] = _optimised(lm, some, _beside(lm, some, own, value, layer), value, layer, last)[:, -1]
    return deltas


def _beside(
    lm: LanguageModel, filled: Sequence[Filled], initial: torch.Tensor, value: Value, layer: int
) -> torch.Tensor:
    """The outputs of all modules that are moved, in the bare prompt, shape (requests, modules, width)."""
    others = moved(lm, value.at, layer)[:-1]
    rows = [f.rows[0].prompt for f in filled]
    seen = recorded(lm, rows, others) if others else {}
    columns = torch.tensor([f.subject[0] for f in filled])
    found = [output[torch.arange(len(rows)), columns].to(initial) for _, output in (seen[name] for name in others)]
    return torch.stack([*found, initial], 1)


def _optimised(
    lm: LanguageModel, filled: Sequence[Filled], initial: torch.Tensor, value: Value, layer: int, last: int
) -> torch.Tensor:
    """Shape (requests, modules, width), as `initial`."""
    objective = _Objective(lm, filled, value, layer, last)
    sizes = initial.norm(dim=2)
    deltas = torch.zeros_like(initial, requires_grad=True)
    adam = torch.optim.Adam([deltas], lr=value.lr)
    active, moving = list(range(len(filled))), torch.ones(len(filled), dtype=torch.bool, device=initial.device)
    for step in range(value.steps):
        with torch.enable_grad():
            losses = objective.losses(active, deltas[active], sizes[active])
        # Also a loss that is no number ends the search, before it spoils the vector.
        going = (losses.detach() >= value.stop_loss) & ~objective.settled[active].to(losses.device)
        moving[active] = going.to(moving.device)
        active = [i for i, goes in zip(active, going.tolist(), strict=True) if goes]
        if not active or step == value.steps - 1:
            break
        (deltas.grad,) = torch.autograd.grad(losses[going].sum(), deltas)
        with torch.no_grad():
            before = deltas.clone()
            adam.step()
            longest = (value.clamp_norm_factor * sizes / deltas.norm(dim=2)).clamp(max=1)
            # Adam is one for each number, so requests move as if alone; those that have stopped stay where they were.
            deltas.copy_(torch.where(moving[:, None, None], deltas * longest[..., None], before))
    return deltas.detach()


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
        self.lm, self.filled, self.value = lm, filled, value
        self.modules = moved(lm, value.at, layer)
        self.batch = _batch(filled, range(len(filled)), lm.device)
        # What is added behind a block leaves that block as it was, too.
        start = layer + 1 if value.at == "block" else layer
        # What is added at the subject changes nothing before it.
        batch, places = self.batch, self.batch.subjects.tolist()
        cuts = places if bare(lm) else None
        self.cuts = cuts or [0] * len(places)
        self.predictions = Predictions(lm, batch.rows, batch.asked, batch.ends, start, cuts, last)
        self.active = list(range(len(filled)))
        self.before: torch.Tensor | None = None
        """Log-probabilities of the untouched model at the essences, shape (requests, vocabulary)."""
        self.settled = torch.zeros(len(filled), dtype=torch.bool)
        """Which requests have come to what `Value.settle` asks for."""
        self.weights = torch.ones(len(filled))
        """What the next negative log-likelihood of each request weighs."""

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
        decay = (deltas.norm(dim=2) / sizes**2).sum(1)
        fit = torch.zeros_like(divergence).index_add(0, batch.target_owners, nll)
        decay = value.weight_decay * decay.to(fit)
        if value.settle is None:
            return fit + value.kl_factor * divergence + decay
        fit = fit * self.weights[active].to(fit)
        missed = torch.zeros_like(divergence).index_add(
            0, batch.target_owners, (target.argmax(-1) != batch.targets).to(fit)
        )
        said = (missed == 0).cpu()
        self.weights[active] = torch.where(said, value.settle.nll_factor, 1.0)
        self.settled[active] = said & (value.kl_factor * divergence <= value.settle.kl).cpu()
        return fit + value.kl_factor * divergence + decay

    def _logits(self, batch: _Batch, deltas: torch.Tensor) -> torch.Tensor:
        """Logits at the places asked, shape (places, vocabulary), float32."""
        rows = torch.arange(len(batch.rows), device=deltas.device)
        cuts = torch.tensor([self.cuts[number] for number in batch.numbers], device=deltas.device)
        columns, vectors = batch.subjects.to(deltas.device) - cuts, deltas[batch.owners.to(deltas.device)]
        with ExitStack() as hooks:
            for number, module in enumerate(self.modules):
                hooks.enter_context(added(self.lm, module, rows, columns, vectors[:, number]))
            return self.predictions.logits(batch.numbers).to(self.lm.device)
