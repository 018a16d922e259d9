"""The track of long targets: edit, let the model write, compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from ....job import Job, Part
from ...lm.generation import greedy
from ...lm.model import LanguageModel
from ...lm.patch import Patch, can_stack, stacked
from ...lm.retrieval import embedded
from ...lm.scoring import Unusable, encode_prompt, forced
from .. import session
from ..told import told
from ..untouched import untouched
from .cases import LongCase, Passage
from .metrics import SIMILARITY, averaged, compared
from .overlap import mentioned
from .params import LongForm

BEFORE_VERSION = 1
"""Raised when what is kept of the untouched model changes."""


@dataclass(frozen=True)
class Question:
    """A prompt to write behind, and what the text is compared with."""

    kind: str
    prompt: str
    wanted: str = ""
    passage: Passage | None = None


@dataclass
class Asked:
    """The questions of one case that its edited model can be asked, and the reasons of the others."""

    questions: list[Question] = field(default_factory=list)
    prompts: list[tuple[int, ...]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


class LongTexts(session.Track[LongCase]):
    """See `session.Track`."""

    def __init__(self, protocol: LongForm, job: Job) -> None:
        super().__init__(protocol, job)
        self.asking = protocol
        self.embedding = job.files.get("protocol", {}).get("embedding")

    def item(self, case: LongCase) -> dict[str, Any]:
        return super().item(case) if case.request.subject else {}

    def score(
        self, part: Part, models: Sequence[tuple[Sequence[LongCase], Patch]], suffix: str = "", **at: Any
    ) -> None:
        before = self._before([case for cases, _ in models for case in cases])
        together = can_stack(self.lm, [patch for _, patch in models])
        with stacked(self.lm, [patch for _, patch in models]) if together else nullcontext():
            for number, (cases, patch) in enumerate(models):
                with nullcontext() if together else patch.applied(self.lm):
                    edited = frozenset(fact for case in cases for fact in case.changed)
                    for case in cases:
                        self._case(part, case, patch, number if together else 0, before, edited, suffix, **at)

    def _case(
        self,
        part: Part,
        case: LongCase,
        patch: Patch,
        owner: int,
        before: Mapping[str, str],
        edited: frozenset[str],
        suffix: str,
        **at: Any,
    ) -> None:
        asked = questions(self.lm, case, before, patch, edited)
        texts = write(self.lm, asked, self.asking, [owner] * len(asked.prompts))
        values = scored(case, asked.questions, texts, self.embedding)
        try:
            (row,) = told(self.lm, patch, case.request.prompt, [case.request.target_new])
            said = forced(self.lm, [row], 1, [owner])[0].tokens
            right = [a == b for a, b in zip(said, row.target, strict=True)]
            values |= {"original.token": fmean(right), "original.exact": float(all(right))}
        except Unusable as error:
            asked.reasons.append(f"original: {error}")
        for reason in asked.reasons:
            part.skip(reason)
        for metric, value in values.items():
            part.record(case.id + suffix, metric, value, **at)

    def _before(self, cases: Sequence[LongCase]) -> Mapping[str, str]:
        """What the untouched model writes behind each held prompt; shared by all methods."""
        prompts = sorted({probe.prompt for case in cases for probe in case.held})
        asked = Asked()
        for prompt in prompts:
            _add(self.lm, asked, Question("held", prompt), Patch())
        key = {
            "prompts": [list(p) for p in asked.prompts],
            "tokens": self.asking.held_tokens,
            "version": BEFORE_VERSION,
        }

        def build() -> list[str]:
            return write(self.lm, asked, self.asking, [0] * len(asked.prompts))

        texts = untouched(self.lm, self.job, "long-form-before", key, build)
        return {q.prompt: text for q, text in zip(asked.questions, texts, strict=True)}

    shown: ClassVar[int] = 3
    title: ClassVar[str] = "What the model writes to the edited prompt, before and after"

    def examples(self, edited: Sequence[tuple[LongCase, Patch]]) -> list[list[str]]:
        rows = []
        for case, patch in edited:
            texts = []
            for which in (Patch(), patch):
                asked = Asked()
                _add(self.lm, asked, Question("original", case.request.prompt), which)
                with which.applied(self.lm):
                    texts += write(self.lm, asked, self.asking, [0] * len(asked.prompts))
            if len(texts) == 2:
                rows.append([f"{case.request.prompt} → {case.request.target_new}", *texts])
        return rows


def questions(
    lm: LanguageModel, case: LongCase, before: Mapping[str, str], patch: Patch, edited: frozenset[str] = frozenset()
) -> Asked:
    """All that a case asks a patched model. `before`: what the untouched one writes behind held prompts; `edited`:
    facts that were changed in the model, on which no prompt that is held may rest."""
    target, found = case.request.target_new, Asked()
    held = [probe.prompt for probe in case.held if not probe.facts & edited]
    found.reasons += ["held: what it asks was edited too"] * (len(case.held) - len(held))
    for question in (
        Question("original", case.request.prompt, target),
        *(Question("paraphrase", prompt, target) for prompt in case.paraphrases),
        *(Question("parts", fact.prompt, fact.answer) for fact in case.parts),
        *(Question("held", prompt, before[prompt]) for prompt in held if prompt in before),
        *(Question("passage", p.prompt, passage=p) for p in case.passages),
    ):
        _add(lm, found, question, patch)
    return found


def _add(lm: LanguageModel, asked: Asked, question: Question, patch: Patch) -> None:
    """Ask it as the patched model is asked it; where notes leave no room, without them."""
    reasons = []
    for prompt in dict.fromkeys((patch.prompt(question.prompt), question.prompt)):
        try:
            ids = encode_prompt(lm, prompt)
        except Unusable as error:
            reasons.append(f"{question.kind}: {error}")
            continue
        if len(ids) < lm.context:
            asked.prompts.append(ids)
            asked.questions.append(question)
            return
        reasons.append(f"{question.kind}: the prompt leaves no room for an answer")
    asked.reasons += reasons[-1:]


def write(lm: LanguageModel, asked: Asked, how: LongForm, owners: Sequence[int]) -> list[str]:
    """What the model in force writes to each question, without the spaces around it."""
    longest = [how.held_tokens if q.kind == "held" else how.new_tokens for q in asked.questions]
    lengths = [min(n, lm.context - len(p)) for n, p in zip(longest, asked.prompts, strict=True)]
    end = lm.tokenizer.eos_token_id
    stop = frozenset(() if end is None else (end,))
    written = greedy(lm, asked.prompts, lengths, how.forward_batch, owners, stop)
    return [lm.tokenizer.decode(tokens, skip_special_tokens=True).strip() for tokens in written]


def scored(case: LongCase, asked: Sequence[Question], texts: Sequence[str], embedding: Path | None) -> dict[str, float]:
    """Metric to value for one case. `embedding`: weights of a sentence encoder. Raises ModelError."""
    by_kind: dict[str, list[tuple[Question, str]]] = {}
    for question, text in zip(asked, texts, strict=True):
        by_kind.setdefault(question.kind, []).append((question, text))
    values: dict[str, float] = {}
    for kind in ("original", "paraphrase", "parts"):
        values |= averaged(kind, [_compared(text, q.wanted, embedding) for q, text in by_kind.get(kind, ())])
    if held := by_kind.get("held"):
        values["held.exact"] = fmean(text == q.wanted for q, text in held)
    return values | _passages(case, [(q.passage, text) for q, text in by_kind.get("passage", ()) if q.passage])


def _compared(written: str, wanted: str, embedding: Path | None) -> dict[str, float]:
    found = compared(written, wanted)
    if embedding:
        found[SIMILARITY] = float(embedded([wanted], str(embedding.parent))(written)[0])
    return found


def _passages(case: LongCase, passages: Sequence[tuple[Passage, str]]) -> dict[str, float]:
    own = [(p, text) for p, text in passages if not p.related]
    values: dict[str, float] = {}
    if own:
        values["passage.new_target"] = fmean(mentioned(text, [case.request.target_new]) for _, text in own)
        if case.request.target_true:
            values["passage.old_target"] = fmean(mentioned(text, [case.request.target_true]) for _, text in own)
    for name, some in (("known", own), ("related_known", [(p, t) for p, t in passages if p.related])):
        shares = [fmean(mentioned(text, names) for names in p.known) for p, text in some if p.known]
        if shares:
            values[f"passage.{name}"] = fmean(shares)
    return values


def run(protocol: LongForm, job: Job) -> Iterator[Part]:
    """Edit and score all cases. Raises DataError when there are too few requests."""
    return session.run(LongTexts(protocol, job))
