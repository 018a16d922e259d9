"""How MEND's network learns to edit: each training request is carried out alone, and judged elsewhere."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...architecture import Linear
from ...forward import Tokens
from ...losses import Predictions, mean_of_each
from ...model import LanguageModel
from ...requests import EditRequest
from ...scoring import Row, Unusable, batches, encode
from .gradients import Factors, edited, token_gradients
from .network import Hypernetwork

if TYPE_CHECKING:
    from .params import Mend


@dataclass(frozen=True)
class Example:
    """A training request as tokens."""

    edit: Row
    equivalents: tuple[Row, ...]
    """The same target after other prompts; the edit itself where there are none."""
    keep: tuple[Row, ...]


def examples(lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Example]:
    """The requests that can be asked of this model, with the kept texts that can."""
    rows = [(request, _row(lm, request.prompt, request.target_new)) for request in requests]
    usable = [(request, row) for request, row in rows if row]
    alike: dict[tuple[str, str], dict[Row, None]] = defaultdict(dict)
    for request, row in usable:
        alike[request.subject, request.target_new][row] = None
    kept = {pair: _row(lm, *pair) for pair in dict.fromkeys(pair for request, _ in usable for pair in request.keep)}
    return [
        Example(
            row,
            tuple(other for other in alike[request.subject, request.target_new] if other != row) or (row,),
            tuple(text for pair in request.keep if (text := kept[pair])),
        )
        for request, row in usable
    ]


def _row(lm: LanguageModel, prompt: str, target: str) -> Row | None:
    try:
        return encode(lm, prompt, target)
    except Unusable:
        return None


@torch.enable_grad()
def train(
    spec: Mend,
    lm: LanguageModel,
    found: Sequence[Example],
    projections: Sequence[Linear],
    start: int,
    network: Hypernetwork,
    rng: np.random.Generator,
) -> np.ndarray:
    """Move the network's tensors; `start`: the first edited block.

    Returns the outer losses of every step, shape (steps, 2): mean negative log-likelihood and mean KL, in nats, not
    weighted. Raises RuntimeError when they stop being numbers.
    """
    how, rates = spec.training, network.tensors["rates"]
    learned = [tensor.requires_grad_() for tensor in network.learned()]
    groups = [{"params": learned, "lr": how.lr}, {"params": [rates.requires_grad_()], "lr": how.rate_lr}]
    optimizer = torch.optim.Adam(groups)
    order, losses = order_of(len(found), rng), []
    for step in range(how.steps):
        chosen = [found[next(order)] for _ in range(how.batch)]
        tasks = [task_of(example, rng) for example in chosen]
        parts = list(batches([task.edit for task in tasks], spec.batch_size))
        gradients = [token_gradients(lm, [tasks[i].edit for i in part], projections)[0] for part in parts]
        for of_part in gradients:
            network.observe(of_part)
        optimizer.zero_grad()
        sums = np.zeros(2)
        for part, of_part in zip(parts, gradients, strict=True):
            factors = [network.factors(weight, tokens) for weight, tokens in enumerate(of_part)]
            nll, kl = outer_losses(lm, [tasks[i] for i in part], projections, start, factors)
            ((how.edit_weight * nll.sum() + how.keep_weight * kl.sum()) / how.batch).backward()
            sums += [nll.sum().item(), kl.sum().item()]
        losses.append(sums / how.batch)
        norm = torch.nn.utils.clip_grad_norm_([*learned, rates], how.clip)
        if not (math.isfinite(sums.sum()) and math.isfinite(norm)):
            raise RuntimeError(
                f"step {step} of the training of {spec.title}'s network gave no number; lower lr or edit_lr"
            )
        optimizer.step()
    for tensor in (*learned, rates):
        tensor.requires_grad_(False)
    return np.stack(losses)


@dataclass(frozen=True)
class Task:
    """What one edit of a step is made from and judged by."""

    edit: Row
    equivalent: Row
    keep: Row | None


def task_of(example: Example, rng: np.random.Generator) -> Task:
    """One of the example's equivalents and one of its kept texts, drawn."""
    keep = example.keep[rng.integers(len(example.keep))] if example.keep else None
    return Task(example.edit, example.equivalents[rng.integers(len(example.equivalents))], keep)


def order_of(count: int, rng: np.random.Generator) -> Iterator[int]:
    """All of `count`, shuffled, again and again."""
    while True:
        yield from rng.permutation(count).tolist()


def outer_losses(
    lm: LanguageModel,
    tasks: Sequence[Task],
    projections: Sequence[Linear],
    start: int,
    factors: Sequence[Factors],
    shared: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each task, under its edit: negative log-likelihood of the equivalent's target, mean over its tokens, and
    KL(before ‖ after) at the kept text, mean over its tokens (0 without one); both of shape (tasks,), in nats.

    `shared`: all tasks are under the one edit that there is, and of a kept text its answer alone counts, as in MALMEN.
    """
    kept = [(number, task.keep) for number, task in enumerate(tasks) if task.keep]
    rows = [task.equivalent for task in tasks] + [row for _, row in kept]
    inputs: list[Tokens] = [*(task.equivalent.ids[:-1] for task in tasks), *(row.ids for _, row in kept)]
    places = [list(task.equivalent.places) for task in tasks] + [_kept(row, shared) for _, row in kept]
    asked = Predictions(lm, inputs, places, [row.start - 1 for row in rows], start)
    owners = torch.tensor([*range(len(tasks)), *(number for number, _ in kept)], device=lm.device)
    with edited(projections, factors, owners, shared):
        logits = asked.logits()
    lengths = [len(task.equivalent.target) for task in tasks]
    said, after = logits.split([sum(lengths), len(logits) - sum(lengths)])
    targets = torch.tensor([t for task in tasks for t in task.equivalent.target], device=logits.device)
    nll = mean_of_each(torch.nn.functional.cross_entropy(said, targets, reduction="none"), lengths)
    kl = torch.zeros_like(nll)
    if kept:
        with torch.no_grad():
            before = asked.logits(range(len(tasks), len(rows))).log_softmax(-1)
        each = (before.exp() * (before - after.log_softmax(-1))).sum(-1)
        kl = kl.index_add(0, owners[len(tasks) :], mean_of_each(each, [len(_kept(row, shared)) for _, row in kept]))
    return nll, kl


def _kept(row: Row, answer: bool) -> list[int]:
    return list(row.places if answer else range(len(row.ids)))
