"""How the network of MALMEN and RLEdit learns: batches of edits, one after the other on a model that stays changed.

MALMEN's sequences have one batch. A network that is to edit for long sees, in RLEdit, models that it has edited
itself, and is judged after each batch by that batch and by those before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...architecture import Linear
from ...model import LanguageModel
from ...patch import Patch
from ...scoring import batches
from .gradients import Factors, TokenGradients, gathered
from .least_squares import patch_of
from .network import Hypernetwork
from .training import Example, Task, order_of, outer_losses, task_of

if TYPE_CHECKING:
    from .params import Malmen

Change = Callable[[int, TokenGradients], Factors]


@torch.enable_grad()
def train(
    spec: Malmen,
    lm: LanguageModel,
    found: Sequence[Example],
    projections: Sequence[Linear],
    start: int,
    network: Hypernetwork,
    change: Change,
    rng: np.random.Generator,
) -> np.ndarray:
    """Move the network's tensors; `start`: the first edited block; `change` reads them.

    Returns the losses of every step, shape (steps, 2): mean negative log-likelihood and mean KL of each batch's own
    requests after it, in nats, not weighted. Raises RuntimeError when they stop being numbers.
    """
    how = spec.training
    own = [network.tensors[name].requires_grad_() for name in ("rates", "penalties")]
    learned = [tensor.requires_grad_() for tensor in network.learned()]
    optimizer = torch.optim.Adam([{"params": learned, "lr": how.lr}, {"params": own, "lr": how.rate_lr}])
    order, losses = order_of(len(found), rng), []
    for step in range(how.steps):
        optimizer.zero_grad()
        total, done, sums = Patch(), list[list[Task]](), np.zeros(2)
        for _ in range(how.sequence):
            done.append([task_of(found[next(order)], rng) for _ in range(how.batch)])
            with total.applied(lm):
                factors, told = _batch(spec, lm, done[-how.backtracking :][::-1], projections, start, network, change)
            sums += told / how.sequence
            if how.sequence > 1:
                total = total.then(patch_of(projections, factors))
        losses.append(sums)
        norm = torch.nn.utils.clip_grad_norm_([*learned, *own], how.clip)
        if not (math.isfinite(sums.sum()) and math.isfinite(norm)):
            message = f"step {step} of the training of {spec.title}'s network gave no number; lower lr or edit_lr"
            raise RuntimeError(message)
        optimizer.step()
    for tensor in (*learned, *own):
        tensor.requires_grad_(False)
    return np.stack(losses)


def _batch(
    spec: Malmen,
    lm: LanguageModel,
    judged: Sequence[Sequence[Task]],
    projections: Sequence[Linear],
    start: int,
    network: Hypernetwork,
    change: Change,
) -> tuple[list[Factors], np.ndarray]:
    """Edit by the requests of `judged[0]`, and add to the tensors' gradients that of what it costs.

    Language model and network are differentiated one after the other, joined at the factors of the change (figure 2
    of arXiv 2311.04661), so that rows are cut as memory allows.
    """
    how, which = spec.training, spec.tokens
    tokens, _ = gathered(lm, [task.edit for task in judged[0]], projections, which, spec.batch_size)
    network.observe(tokens)
    factors = [change(weight, of_weight) for weight, of_weight in enumerate(tokens)]
    cut = [Factors(f.left.detach().requires_grad_(), f.right, f.counts) for f in factors]
    told, changed = np.zeros(2), {row.prompt for task in judged[0] for row in (task.edit, task.equivalent)}
    for age, batch in enumerate(judged):
        # What the batch changes itself cannot stay.
        tasks = [replace(t, keep=None) if t.keep and t.keep.prompt in changed else t for t in batch]
        for part in batches([task.equivalent for task in tasks], spec.batch_size):
            nll, kl = outer_losses(lm, [tasks[i] for i in part], projections, start, cut, shared=True)
            cost = how.edit_weight * nll.sum() + how.keep_weight * kl.sum()
            (how.decay**age * cost / how.batch).backward()
            told += np.array([nll.sum().item(), kl.sum().item()]) / how.batch if age == 0 else 0
    gradients = [f.left.grad for f in cut]
    if how.shift_weight:
        # |leftᵀ right|², without the product.
        size = torch.stack([((f.left @ f.left.T) * (f.right @ f.right.T)).sum() for f in factors]).sum()
        (how.shift_weight * size).backward(retain_graph=True)
    torch.autograd.backward([f.left for f in factors], gradients)
    return factors, told
