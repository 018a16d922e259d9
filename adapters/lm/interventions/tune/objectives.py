"""Losses of a batch of pairs, as quantities that a change of the model descends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cosine_similarity, cross_entropy, logsigmoid

from ...architecture import block, blocks
from ...forward import listening, logits_at, padded
from ...model import LanguageModel
from ...requests import EditRequest
from ...scoring import Row, Unusable, batches, encode_ended

if TYPE_CHECKING:
    from .moving import Moving
    from .params import Dpo, Npo, Reroute, Sft, Stage


@dataclass(frozen=True)
class Batch:
    """The pairs of one step."""

    lm: LanguageModel
    requests: Sequence[EditRequest]
    step: int
    """From 0."""
    stage: Stage
    forward_batch: int

    def rows(self, answers: str) -> list[Row]:
        """Prompts with `safe` or `unsafe` answers, or harmless prompts (`harmless`), each with the end of its text."""
        if answers == "harmless":
            pairs = [pair for r in self.requests for pair in r.keep[:1]]
        else:
            pairs = [(r.prompt, r.target_new if answers == "safe" else r.target_true or "") for r in self.requests]
        return [encode_ended(self.lm, prompt, answer) for prompt, answer in pairs]

    def parts(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """The rows in forward passes."""
        for chosen in batches(rows, self.forward_batch):
            yield [rows[i] for i in chosen]


def loss_of(batch: Batch, change: Moving, begin: Sequence[torch.Tensor]) -> float:
    """Compute the loss of a step and its gradients. `begin`: values of `change` when the stage began.

    Raises Unusable where harmless answers are needed and there are none, or a pair cannot be asked.
    """
    kinds: dict[str, Callable[..., float]] = {"sft": _sft, "dpo": _dpo, "npo": _npo, "reroute": _reroute}
    return kinds[batch.stage.objective.type](batch, change, begin, batch.stage.objective)


def _sft(batch: Batch, change: Moving, begin: Sequence[torch.Tensor], spec: Sft) -> float:
    rows = batch.rows(spec.answers)
    count = round(spec.harmless * len(rows))
    if count:
        rows = rows[count:] + _harmless(batch)[:count]
    return _cross_entropy(batch, change, rows, 1.0)


def _cross_entropy(batch: Batch, change: Moving, rows: Sequence[Row], weight: float) -> float:
    """Mean over all tokens of all answers, in nats."""
    tokens, total = sum(len(row.target) for row in rows), 0.0
    for part in batch.parts(rows):
        loss = weight * -log_probabilities(batch.lm, part, change).sum() / tokens
        loss.backward()
        total += loss.item()
    return total


def _dpo(batch: Batch, change: Moving, begin: Sequence[torch.Tensor], spec: Dpo) -> float:
    total = 0.0
    safe, unsafe = batch.rows("safe"), batch.rows("unsafe")
    # Both answers of a pair are in one pass: half as many pairs as rows.
    size = max(1, batch.forward_batch // 2)
    for start in range(0, len(safe), size):
        rows = [*safe[start : start + size], *unsafe[start : start + size]]
        better, worse = _ratios(batch, change, begin, rows).chunk(2)
        loss = dpo(better, worse, spec.beta).sum() / len(safe)
        loss.backward()
        total += loss.item()
    return total


def dpo(better: torch.Tensor, worse: torch.Tensor, beta: float) -> torch.Tensor:
    """−log σ(beta · (better − worse)) of log-ratios, in nats; of the shape of the two."""
    return -logsigmoid(beta * (better - worse))


def _npo(batch: Batch, change: Moving, begin: Sequence[torch.Tensor], spec: Npo) -> float:
    total, unsafe = 0.0, batch.rows("unsafe")
    for part in batch.parts(unsafe):
        ratios = _ratios(batch, change, begin, part)
        loss = -2 / spec.beta * logsigmoid(-spec.beta * ratios).sum() / len(unsafe)
        loss.backward()
        total += loss.item()
    return total + (_cross_entropy(batch, change, _harmless(batch), spec.retain) if spec.retain else 0.0)


def _harmless(batch: Batch) -> list[Row]:
    rows = batch.rows("harmless")
    if not rows:
        raise Unusable("the training split has no harmless prompts, and the objective needs some")
    return rows


def _ratios(batch: Batch, change: Moving, begin: Sequence[torch.Tensor], rows: Sequence[Row]) -> torch.Tensor:
    """log π(answer) − log π_begin(answer) of each row, sums over tokens; shape (rows,)."""
    with change.at(begin):
        before = log_probabilities(batch.lm, rows, change)
    return log_probabilities(batch.lm, rows, change) - before


def log_probabilities(lm: LanguageModel, rows: Sequence[Row], change: Moving) -> torch.Tensor:
    """Log-probability of each row's answer, the sum over its tokens, in nats; shape (rows,)."""
    weights = change.weights()
    ends = [row.start - 1 for row in rows]
    logits = logits_at(lm, [row.ids[:-1] for row in rows], [row.places for row in rows], ends, weights=weights)
    targets = torch.tensor([token for row in rows for token in row.target], device=logits.device)
    nll = cross_entropy(logits, targets, reduction="none")
    return -torch.stack([part.sum() for part in nll.split([len(row.target) for row in rows])])


def _reroute(batch: Batch, change: Moving, begin: Sequence[torch.Tensor], spec: Reroute) -> float:
    share = (batch.step + 1) / (2 * batch.stage.steps)
    total, every = 0.0, range(len(blocks(batch.lm.model)[1]))
    unsafe, harmless = batch.rows("unsafe"), _harmless(batch)
    for rows, layers, weight in ((unsafe, spec.layers, 1 - share), (harmless, every, spec.retain * share)):
        tokens = sum(len(row.ids) for row in rows)
        for part in batch.parts(rows):
            with change.at(begin):
                before = _hidden(batch.lm, part, layers, change)
            after = _hidden(batch.lm, part, layers, change)
            if rows is unsafe:
                far = cosine_similarity(after, before, dim=-1).relu()
            else:
                # The square root's slope at zero is infinite; a tiny distance keeps it finite.
                far = ((after - before).square().sum(-1) + 1e-12).sqrt()
            loss = spec.alpha * weight * far.sum() / (tokens * len(layers))
            loss.backward()
            total += loss.item()
    return total


def _hidden(lm: LanguageModel, rows: Sequence[Row], layers: Sequence[int], change: Moving) -> torch.Tensor:
    """Outputs of blocks at every token of the rows, one after the other, float32; shape (layers, tokens, width)."""
    inputs, weights = padded([row.ids for row in rows], lm.device) | {"use_cache": False}, change.weights()
    mask = inputs["attention_mask"].bool()
    names = [block(lm.model, layer)[0] for layer in layers]
    with listening(lm, names) as heard, lm.asking([row.start - 1 for row in rows], [0] * len(rows)):
        if weights is None:
            lm.model(**inputs)
        else:
            torch.func.functional_call(lm.model, weights, args=(), kwargs=inputs)
    return torch.stack([heard[name][mask].float() for name in names])
