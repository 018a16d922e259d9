"""A case as it is put to a model: the rows that are asked, and the scores of the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.scoring import Forced, Row, Unusable
from .cases import EditCase
from .metrics import average, contrast_values, over_kinds, token_share
from .probes import Place, Question, Reference, questions
from .texts import Text, perplexity, texts
from .told import told

NEIGHBOURS = "neighbourhood"
"""The kind of locality probe that CounterFact's neighbourhood score reads."""


@dataclass(frozen=True)
class Contrast:
    """The same prompt with the new and the true target."""

    metric: str
    new: Row
    true: Row


@dataclass(frozen=True)
class Sheet:
    """What a case asks, in the order of `rows`."""

    case: EditCase
    reference: Reference
    direct: tuple[Question, ...]
    """Questions with a right answer."""
    local: tuple[Question, ...]
    """Questions whose answer shall be the untouched model's; each is asked along the data's answer and along that."""
    contrasts: tuple[Contrast, ...]
    spoken: tuple[Question, ...]
    """Questions that are answered by writing."""
    reasons: tuple[str, ...]
    """Why probes were left out."""
    read: tuple[Text, ...] = ()
    """Texts that are read."""
    perplexed: bool = False
    """Whether the perplexity of the new target is a score."""

    @property
    def rows(self) -> list[Row]:
        """Everything that is answered by teacher forcing."""
        return [
            *(q.row for q in self.direct),
            *(q.row.with_target(self.reference.before[q.place].target) for q in self.local),
            *(q.row.with_target(self.reference.before[q.place].greedy) for q in self.local),
            *(row for c in self.contrasts for row in (c.new, c.true)),
        ]

    def scores(self, said: Sequence[Forced], texts: Sequence[str], read: Sequence[Forced] = ()) -> dict[str, float]:
        """Metric to value: from the answers to `rows`, the texts written to `spoken`, what was said along `read`."""
        token: dict[Place, float] = {}
        exact: dict[Place, float] = {}
        for q, forced in zip(self.direct, said, strict=False):
            # Of several accepted answers the best one counts.
            token[q.place] = max(token.get(q.place, 0.0), token_share(forced.tokens, q.row.target))
            exact[q.place] = max(exact.get(q.place, 0.0), float(forced.tokens == q.row.target))
        rest = said[len(self.direct) :]
        along_data, along_own = rest[: len(self.local)], rest[len(self.local) : 2 * len(self.local)]
        for q, data, own in zip(self.local, along_data, along_own, strict=True):
            before = self.reference.before[q.place]
            token[q.place] = token_share(data.tokens, before.forced)
            exact[q.place] = float(own.tokens == before.greedy)
        for q, text in zip(self.spoken, texts, strict=True):
            exact[q.place] = max(exact.get(q.place, 0.0), float(text.endswith(q.answer)))
        compared: dict[str, list[tuple[float, float]]] = {}
        pairs = iter(rest[2 * len(self.local) :])
        for c, new, true in zip(self.contrasts, pairs, pairs, strict=True):
            compared.setdefault(c.metric, []).append((new.nll, true.nll))
        found = _averaged("exact", exact) | _averaged("token", token)
        likely = [perplexity(f.nll) for q, f in zip(self.direct, said, strict=False) if q.place[0] == "reliability"]
        found |= {"perplexity": likely[0]} if self.perplexed and likely else {}
        found |= _read(self.read, read)
        return found | average(found) | contrast_values(compared)


def _read(asked: Sequence[Text], said: Sequence[Forced]) -> dict[str, float]:
    by_metric: dict[str, list[float]] = {}
    for text, along in zip(asked, said, strict=True):
        by_metric.setdefault(text.metric, []).append(text.value(along))
    return {metric: fmean(values) for metric, values in by_metric.items()}


def _averaged(how: str, values: Mapping[Place, float]) -> dict[str, float]:
    by_measure: dict[str, dict[str, list[float]]] = {}
    for (measure, kind, _), value in values.items():
        by_measure.setdefault(measure, {}).setdefault(kind, []).append(value)
    return {k: v for measure, kinds in by_measure.items() for k, v in over_kinds(measure, how, kinds).items()}


def sheet(
    lm: LanguageModel,
    case: EditCase,
    reference: Reference,
    patch: Patch,
    edited: frozenset[str],
    contrasting: bool = False,
    perplexed: bool = False,
) -> Sheet:
    """The questions of a case for a model changed by `patch`, in which the facts `edited` were changed."""
    asked, reasons = questions(lm, case, patch, edited)
    fair = [q for q in asked if q.place not in reference.unfair]
    unfair = {q.place for q in asked} - {q.place for q in fair}
    reasons += [f"{measure}: needs a fact that the untouched model does not know" for measure, _, _ in sorted(unfair)]
    contrasts = list(_contrasts(lm, case, patch, edited)) if contrasting else []
    read = list(texts(lm, case, patch))
    reasons += [c for c in (*contrasts, *read) if isinstance(c, str)]
    return Sheet(
        case,
        reference,
        tuple(q for q in fair if q.place[0] != "locality" and not q.probe.generated),
        tuple(q for q in fair if q.place in reference.before),
        tuple(c for c in contrasts if isinstance(c, Contrast)),
        tuple(q for q in fair if q.probe.generated),
        tuple(reasons),
        tuple(text for text in read if isinstance(text, Text)),
        perplexed,
    )


def _contrasts(lm: LanguageModel, case: EditCase, patch: Patch, edited: frozenset[str]) -> Iterator[Contrast | str]:
    """What is compared, and the reasons of what cannot be."""
    new, true = case.request.target_new, case.request.target_true
    if true is None:
        return
    neighbours = [p.prompt for p in case.locality.get(NEIGHBOURS, ()) if not p.facts & edited]
    asked = (("efficacy", [case.request.prompt]), ("paraphrase", case.rephrases), ("neighborhood", neighbours))
    for metric, prompts in asked:
        for prompt in prompts:
            try:
                yield Contrast(metric, *told(lm, patch, prompt, (new, true)))
            except Unusable as error:
                yield f"{metric}: {error}"
