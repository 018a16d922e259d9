"""How a codebook is written: which entry a request belongs to, and what its value becomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from ...architecture import part
from ...codebook import Codebook, Replace, nearest, written
from ...forward import recorded
from ...inserts import Insert
from ...losses import Targets
from ...model import Asked, LanguageModel
from ...patch import Patch
from ...prefixes import bare
from ...requests import EditRequest
from ...scoring import Row, Unusable, batches, encode

if TYPE_CHECKING:
    from .....job import Job
    from .. import State
    from .params import Grace

SAME = 1e-3
"""Keys nearer than this share of epsilon are one: numbers of the same text differ so much between batch shapes."""


@dataclass
class Entry:
    """One line of the codebook. Being one object, key, value, radius and label cannot come apart."""

    key: torch.Tensor
    value: torch.Tensor
    epsilon: float
    label: tuple[int, ...]


def all_together(
    spec: Grace, lm: LanguageModel, requests: Sequence[EditRequest], state: State, job: Job
) -> tuple[Patch, State]:
    """See `Grace.apply`."""
    entries = _read(state, lm.device)
    rows = [encode(lm, r.prompt, r.target_new) for r in requests]
    news = _new_entries(spec, lm, requests, rows, job)
    where = [_admit(entries, new, spec.epsilon) for new in news]
    # Of two requests that contradict each other the later one stands.
    kept = [i for i, entry in enumerate(where) if entries[entry].label == rows[i].target]
    _learn(spec, lm, [rows[i] for i in kept], [entries[where[i]] for i in kept])
    codebook = _codebook(entries, spec.replace)
    return Patch(inserts={_module(spec, lm): codebook}), codebook.tensors()


def each_alone(spec: Grace, lm: LanguageModel, requests: Sequence[EditRequest], job: Job) -> list[Patch | Unusable]:
    """See `Grace.apply_each`."""
    rows: list[Row | Unusable] = []
    for request in requests:
        try:
            rows.append(encode(lm, request.prompt, request.target_new))
        except Unusable as error:
            rows.append(error)
    usable = [(request, row) for request, row in zip(requests, rows, strict=True) if isinstance(row, Row)]
    asked = [row for _, row in usable]
    entries = _new_entries(spec, lm, [request for request, _ in usable], asked, job)
    _learn(spec, lm, asked, entries)
    made = iter(entries)
    name = _module(spec, lm)
    return [
        Patch(inserts={name: _codebook([next(made)], spec.replace)}) if isinstance(row, Row) else row for row in rows
    ]


def _module(spec: Grace, lm: LanguageModel) -> str:
    return part(lm.model, spec.site.layer, spec.site.module)[0]


def _new_entries(
    spec: Grace, lm: LanguageModel, requests: Sequence[EditRequest], rows: Sequence[Row], job: Job
) -> list[Entry]:
    """What each request would be remembered as, its value untrained."""
    name = _module(spec, lm)
    found: dict[int, Entry] = {}
    for batch in batches(rows, spec.batch_size):
        inputs, outputs = recorded(lm, [rows[i].prompt for i in batch], [name])[name]
        for at, i in enumerate(batch):
            key, value = (hidden[at, rows[i].start - 1].float() for hidden in (inputs, outputs))
            if spec.start == "cold":
                draws = job.rng("grace", requests[i].id).random(value.shape[-1])
                value = torch.from_numpy(draws).to(value)
            # Copies: a view would keep the hidden states of the whole batch.
            found[i] = Entry(key.clone(), value.clone(), spec.epsilon, rows[i].target)
    return [found[i] for i in range(len(rows))]


def _admit(entries: list[Entry], new: Entry, epsilon: float) -> int:
    """Find or make the entry for a request: number of the one that is to say its target."""
    if entries:
        numbers, distances = nearest(new.key[None], torch.stack([e.key for e in entries]))
        number, distance = int(numbers), float(distances)
        near = entries[number]
        if distance <= near.epsilon + epsilon:
            if near.label == new.label:
                near.epsilon = max(near.epsilon, distance + SAME * epsilon)
                return number
            if distance <= SAME * epsilon:
                near.value, near.label = new.value, new.label
                return number
            near.epsilon, new.epsilon = min(near.epsilon, distance / 2), min(new.epsilon, distance / 2)
    entries.append(new)
    return len(entries) - 1


def _learn(spec: Grace, lm: LanguageModel, rows: Sequence[Row], entries: Sequence[Entry]) -> None:
    """Train the values of `entries`, of which the i-th is to say the target of row i; one may come several times."""
    rows_of: dict[int, list[Row]] = {}
    for entry, row in zip(entries, rows, strict=True):
        rows_of.setdefault(id(entry), []).append(row)
    each = list({id(e): e for e in entries}.values())
    for start in range(0, len(each), spec.batch_size):
        batch = each[start : start + spec.batch_size]
        _descend(spec, lm, batch, [rows_of[id(e)] for e in batch])


def _descend(spec: Grace, lm: LanguageModel, entries: Sequence[Entry], rows: Sequence[Sequence[Row]]) -> None:
    """Every value has its own descent, as if it were alone, and rests when the mean loss of its rows is low enough."""
    values = [e.value.clone().requires_grad_() for e in entries]
    optimizer = torch.optim.Adam(values, lr=spec.lr)
    # A value at the prompt's last token changes nothing before it. What may stand there by now is an older codebook.
    after_prompt = spec.replace == "last" and bare(lm, besides=_module(spec, lm))
    every = [row for own in rows for row in own]
    targets = Targets(lm, every, spec.site.layer, after_prompt=after_prompt)
    owner = [i for i, own in enumerate(rows) for _ in own]
    moving = list(range(len(entries)))
    for _ in range(spec.steps):
        chosen = [row for row, i in enumerate(owner) if i in moving]
        with _given(spec, lm, torch.stack([values[owner[row]] for row in chosen])):
            nll = targets.nll(chosen)
        means = [part.mean() for part in nll.split([len(rows[i]) for i in moving])]
        high = [(i, loss) for i, loss in zip(moving, means, strict=True) if loss.item() >= spec.stop_loss]
        if not high:
            break
        moving = [i for i, _ in high]
        optimizer.zero_grad()  # to None: Adam passes over what has no gradient, so that its moments rest, too
        torch.stack([loss for _, loss in high]).sum().backward()
        for i, value in enumerate(values):
            if i not in moving:
                # Through the stack its gradient is zeros, and Adam's momentum would move it once more.
                value.grad = None
        optimizer.step()
    for entry, value in zip(entries, values, strict=True):
        entry.value = value.detach()


@contextmanager
def _given(spec: Grace, lm: LanguageModel, values: torch.Tensor) -> Iterator[None]:
    """Row i of the next forward passes is given `values[i]`."""

    class Given:
        def __call__(self, inputs: torch.Tensor, output: torch.Tensor, asked: Asked) -> torch.Tensor:
            every = torch.ones(len(values), dtype=torch.bool, device=output.device)
            return written(output, values, asked.prompt_ends, every, spec.replace)

    with Patch(inserts={_module(spec, lm): cast(Insert, Given())}).applied(lm):
        yield


def _codebook(entries: Sequence[Entry], replace: Replace) -> Codebook:
    longest = max(len(e.label) for e in entries)
    labels = [[*e.label, *[-1] * (longest - len(e.label))] for e in entries]
    return Codebook(
        torch.stack([e.key for e in entries]),
        torch.stack([e.value for e in entries]),
        torch.tensor([e.epsilon for e in entries], device=entries[0].key.device),
        torch.tensor(labels, device=entries[0].key.device),
        replace,
    )


def _read(state: State, device: torch.device) -> list[Entry]:
    if state is None:
        return []
    keys, values = (state[name].to(device) for name in ("keys", "values"))
    epsilons, labels = state["epsilons"].tolist(), state["labels"].tolist()
    return [
        Entry(k, v, e, tuple(token for token in label if token >= 0))
        for k, v, e, label in zip(keys, values, epsilons, labels, strict=True)
    ]
