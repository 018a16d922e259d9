"""The track of sentiments: replies of two kinds on the topic, and what is said of another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ....job import Job, Part
from ...lm.forward import logits_at
from ...lm.model import LanguageModel
from ...lm.patch import Patch
from ...lm.scoring import Row, Unusable, batches, encode, forced
from .. import session
from ..cases import EditCase
from ..told import told
from ..untouched import untouched
from ..writing import written
from .cases import Replies, SentimentCase
from .metrics import per_token, success
from .params import Sentiment

BEFORE_VERSION = 1
"""Raised when what is kept of the untouched model is computed otherwise."""
LEAST = 100.0
"""Nats."""
ROWS = 32
"""Replies of which the distributions over the vocabulary are in memory together."""


@dataclass(frozen=True)
class Rows:
    """A case as a model is asked it."""

    wanted: list[Row]
    unwanted: list[Row]
    elsewhere: list[Row]


class Sentiments(session.Track[SentimentCase]):
    """See `session.Track`."""

    def __init__(self, protocol: Sentiment, job: Job) -> None:
        super().__init__(protocol, job)
        self.asking = protocol

    def unfit(self, case: SentimentCase) -> str:
        asked = self._rows(case, Patch())
        return "" if asked.wanted and asked.unwanted else "no reply of one kind can be asked"

    def score(
        self, part: Part, models: Sequence[tuple[Sequence[SentimentCase], Patch]], suffix: str = "", **at: Any
    ) -> None:
        before = iter(self._before([case for cases, _ in models for case in cases]))
        for cases, patch in models:
            rows = [self._rows(case, patch) for case in cases]
            edited = {case.request.fact_id for case in cases}
            with patch.applied(self.lm):
                now = [self._likely(asked.wanted, asked.unwanted) for asked in rows]
                texts = self._written(part, cases, patch)
            for case, asked, (wanted, unwanted), text in zip(cases, rows, now, texts, strict=True):
                found = success(wanted, unwanted, next(before)) | text
                if case.neighbour in edited:
                    part.skip("drawdown: what it asks was edited too")
                elif asked.elsewhere:
                    found["drawdown"] = self._drawdown(case, asked.elsewhere, patch)
                for metric, value in found.items():
                    part.record(case.id + suffix, metric, value, **at)

    def item(self, case: SentimentCase) -> dict[str, Any]:
        return {**super().item(case), "sentiment": case.sentiment}

    def _rows(self, case: SentimentCase, patch: Patch) -> Rows:
        """Replies that the untouched model cannot be asked are left out: the same for every method."""
        return Rows(*(self._encoded(r, patch) for r in (case.wanted, case.unwanted, case.elsewhere)))

    def _encoded(self, replies: Replies, patch: Patch) -> list[Row]:
        found = []
        for question, reply in replies:
            try:
                row = encode(self.lm, question, reply)
            except Unusable:
                continue
            found.append(told(self.lm, patch, question, [reply])[0].with_target(row.target))
        return found

    def _likely(self, *kinds: Sequence[Row]) -> tuple[float, ...]:
        """Mean NLL per token of some rows of each kind, by the model as it is now."""
        said = iter(forced(self.lm, [row for rows in kinds for row in rows], self.protocol.forward_batch))
        return tuple(per_token([(next(said).nll, len(row.target)) for row in rows]) for rows in kinds)

    def _before(self, cases: Sequence[SentimentCase]) -> list[float]:
        """What the untouched model says of the wanted replies; shared by all methods."""
        rows = [self._rows(case, Patch()).wanted for case in cases]
        key = {
            "rows": [[[r.ids, r.start] for r in of_case] for of_case in rows],
            "version": BEFORE_VERSION,
        }

        def build() -> dict[str, list[float]]:
            return {"nll": [self._likely(of_case)[0] for of_case in rows]}

        said: list[float] = untouched(self.lm, self.job, "sentiment-reference", key, build)["nll"]
        return said

    def _written(self, part: Part, cases: Sequence[SentimentCase], patch: Patch) -> list[dict[str, float]]:
        if self.asking.fluency is None:
            return [{} for _ in cases]
        wanted = [(EditCase(case.request), patch, 0) for case in cases]
        texts = written(self.lm, wanted, self.asking.fluency, None, self.protocol.forward_batch, self.job)
        for reason in (reason for _, reasons in texts for reason in reasons):
            part.skip(reason)
        return [values for values, _ in texts]

    def _drawdown(self, case: SentimentCase, rows: Sequence[Row], patch: Patch) -> float:
        plain = self._rows(case, Patch()).elsewhere
        total = 0.0
        for batch in batches(rows, min(self.protocol.forward_batch, ROWS)):
            before = log_probabilities(self.lm, [plain[i] for i in batch])
            with patch.applied(self.lm):
                after = log_probabilities(self.lm, [rows[i] for i in batch])
            total += divergence(before, after)
        return total / sum(len(row.target) for row in rows)


@torch.inference_mode()
def log_probabilities(lm: LanguageModel, rows: Sequence[Row]) -> torch.Tensor:
    """Of every token of the vocabulary at the targets of all rows, shape (target tokens, vocabulary)."""
    places = [row.places for row in rows]
    return logits_at(lm, [row.ids for row in rows], places, [row.start - 1 for row in rows]).log_softmax(-1)


def divergence(before: torch.Tensor, after: torch.Tensor) -> float:
    """KL(before || after) in nats, summed over places, from log-probabilities of shape (places, vocabulary).

    What a broken model finds impossible, or gives no probability, counts as one of exp(-100).
    """
    after = after.nan_to_num(nan=-LEAST, neginf=-LEAST).clamp(min=-LEAST)
    summed: float = (before.exp() * (before - after)).sum(-1).clamp(min=0).double().sum().item()
    return summed


def run(protocol: Sentiment, job: Job) -> Iterator[Part]:
    """Edit and score all topics. Raises DataError when there are too few."""
    return session.run(Sentiments(protocol, job))
