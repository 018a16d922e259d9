"""The track in the wild: the questions of single facts, answered by writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

from ....job import Job, Part
from ....loading.resolve import identity
from ...lm.model import LanguageModel
from ...lm.patch import Patch
from .. import session
from ..answering import answered
from ..cases import EditCase, Probe
from ..metrics import over_kinds
from ..probes import Place, probes, references
from ..untouched import untouched
from .judging import Judge, Said
from .metrics import HOW
from .params import Written

BEFORE_VERSION = 1
"""Raised when what is kept of the untouched model is computed otherwise."""


@dataclass(frozen=True)
class Answered:
    """A question that was asked of an edited model, and what it wrote; None where it does not fit into its context."""

    place: Place
    probe: Probe
    text: str | None


class Facts(session.Track[EditCase]):
    """See `session.Track`."""

    def __init__(self, protocol: Written, job: Job, judge: Judge) -> None:
        super().__init__(protocol, job)
        self.how, self.judge = protocol, judge

    def score(
        self, part: Part, models: Sequence[tuple[Sequence[EditCase], Patch]], suffix: str = "", **at: Any
    ) -> None:
        cases = [case for of_model, _ in models for case in of_model]
        before = dict(zip((case.id for case in cases), self._before(cases), strict=True))
        sheets = [
            [self._sheet(part, case, frozenset(c.request.fact_id for c in of_model)) for case in of_model]
            for of_model, _ in models
        ]
        asked = [
            (patch, [probe.prompt for sheet in of_model for _, probe in sheet])
            for (_, patch), of_model in zip(models, sheets, strict=True)
        ]
        texts = iter([text for of_model in self._written(asked) for text in of_model])
        answers = [
            [Answered(place, probe, next(texts)) for place, probe in sheet] for of_model in sheets for sheet in of_model
        ]
        for case, values in zip(cases, self._judged(part, cases, before, answers), strict=True):
            for metric, value in values.items():
                part.record(case.id + suffix, metric, value, **at)
        part.facts |= self.judge.facts()

    def _sheet(self, part: Part, case: EditCase, edited: frozenset[str]) -> list[tuple[Place, Probe]]:
        """What is asked of a case in a model in which the facts `edited` were changed; see probes.py."""
        unfair = self._unfair(case)
        found, own = [], {case.request.fact_id}
        for place, probe in probes(case):
            if probe.facts & (edited if place[0] == "locality" else edited - own):
                part.skip(f"{place[0]}: what it asks was edited too")
            elif place in unfair:
                part.skip(f"{place[0]}: needs a fact that the untouched model does not know")
            else:
                found.append((place, probe))
        return found

    def _unfair(self, case: EditCase) -> frozenset[Place]:
        if not any(probe.needs for _, probe in probes(case)):
            return frozenset()
        (found,) = references(self.lm, [case], self.how.forward_batch, self.job)
        return found.unfair

    def _judged(
        self, part: Part, cases: Sequence[EditCase], before: dict[str, dict[Place, str | None]], answers: Any
    ) -> Iterator[dict[str, float]]:
        """Metric to value of each case. All answers are judged together: a judge may be far away."""
        said: list[tuple[int, Place, Said]] = []
        for number, (case, of_case) in enumerate(zip(cases, answers, strict=True)):
            for one in of_case:
                earlier = before[case.id].get(one.place)
                if one.text is None or (one.place[0] == "locality" and earlier is None):
                    part.skip(f"{one.place[0]}: longer than the model's context")
                    continue
                right = (earlier or "",) if one.place[0] == "locality" else one.probe.answers
                aloud = one.probe.generated and one.place[0] != "locality"
                said.append((number, one.place, Said(one.probe.prompt, right, one.text, aloud)))
        values: list[dict[str, dict[str, list[float]]]] = [{} for _ in cases]
        lengths: list[list[int]] = [[] for _ in cases]
        for (number, place, one), verdict in zip(said, self.judge.right([s for *_, s in said]), strict=True):
            if place[0] in ("reliability", "generalization"):
                lengths[number].append(len(one.text.split()))
            if verdict is None:
                part.skip(f"{place[0]}: the judge gave no verdict")
            else:
                values[number].setdefault(place[0], {}).setdefault(place[1], []).append(verdict)
        for of_case, words in zip(values, lengths, strict=True):
            found = {k: v for measure, kinds in of_case.items() for k, v in over_kinds(measure, HOW, kinds).items()}
            yield found | ({"answer_words": fmean(words)} if words else {})

    def _before(self, cases: Sequence[EditCase]) -> list[dict[Place, str | None]]:
        """What the untouched model writes to questions of locality; shared by all methods."""
        asked = [[(place, p) for place, p in probes(case) if place[0] == "locality"] for case in cases]
        prompts = [p.prompt for of_case in asked for _, p in of_case]
        how = {
            name: value for name, value in identity(self.how).items() if name in ("prompt", "chat", "tokens", "until")
        }
        key = {"prompts": prompts, "how": how, "version": BEFORE_VERSION}

        def build() -> list[str | None]:
            return self._written([(Patch(), prompts)])[0]

        texts = iter(untouched(self.lm, self.job, "wild-reference", key, build))
        return [{place: next(texts) for place, _ in of_case} for of_case in asked]

    def _written(self, models: Sequence[tuple[Patch, Sequence[str]]]) -> list[list[str | None]]:
        how = self.how
        asked = [(patch, [(how.prompt, prompt) for prompt in prompts]) for patch, prompts in models]
        with _as_chat(self.lm, how.chat == "auto" and bool(getattr(self.lm.tokenizer, "chat_template", None))):
            return answered(self.lm, asked, how.tokens, how.forward_batch, how.until)

    title: ClassVar[str] = "What the model writes to the edited prompt, before and after"

    def examples(self, edited: Sequence[tuple[EditCase, Patch]]) -> list[list[str]]:
        prompts = [case.request.prompt for case, _ in edited]
        (before,) = self._written([(Patch(), prompts)])
        after = self._written([(patch, [prompt]) for (_, patch), prompt in zip(edited, prompts, strict=True)])
        return [
            [f"{case.request.prompt} → {case.request.target_new}", old or "", new or ""]
            for (case, _), old, (new,) in zip(edited, before, after, strict=True)
        ]


@contextmanager
def _as_chat(lm: LanguageModel, chat: bool) -> Iterator[None]:
    """Prompts are turns of a chat inside `with`, where they are not already."""
    before = lm.chat
    lm.chat = before or chat
    try:
        yield
    finally:
        lm.chat = before


def run(protocol: Written, job: Job, judge: Judge) -> Iterator[Part]:
    """Edit and score all cases. Raises DataError when there are too few requests, ModelError, RunError."""
    return session.run(Facts(protocol, job, judge))
