"""The track of multi-hop questions: the edits of a case are carried out together, and every answer is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ....job import Job, Part
from ....loading.resolve import identity
from ...lm.decomposing import Decomposing
from ...lm.patch import Patch
from .. import session
from ..answering import answered, begins, ends, equal
from ..untouched import untouched
from .cases import ChainCase, Hop
from .metrics import ASKED, RIGHT, multi_hop
from .params import MultiHop
from .prompts import aloud, of_chain, of_fact

BEFORE_VERSION = 1
"""Raised when what is kept of the untouched model is computed otherwise."""


@dataclass(frozen=True)
class Said:
    """What a model wrote in answer to a case; None where a question does not fit into its context."""

    edits: tuple[str | None, ...]
    hops: tuple[str | None, ...]
    """To all hops as questions, also where they are edited."""
    direct: tuple[str | None, ...]
    aloud: tuple[str | None, ...]
    """To each question, where it is asked so; who takes questions apart answers no other way."""


class Chains(session.Track[ChainCase]):
    """See `session.Track`."""

    def __init__(self, protocol: MultiHop, job: Job) -> None:
        super().__init__(protocol, job)
        self.how = protocol.asking

    def score(
        self, part: Part, models: Sequence[tuple[Sequence[ChainCase], Patch]], suffix: str = "", **at: Any
    ) -> None:
        untouched = iter(self._before([case for cases, _ in models for case in cases]))
        said = self._said([(patch, [(case, case.hops) for case in cases]) for cases, patch in models])
        for (cases, _), of_model in zip(models, said, strict=True):
            edited = {r.fact_id: r.target_new for case in cases for r in case.requests}
            for case, after in zip(cases, of_model, strict=True):
                for metric, value in self._values(part, case, edited, next(untouched), after).items():
                    part.record(case.id + suffix, metric, value, **at)

    def _values(
        self, part: Part, case: ChainCase, edited: dict[str, str], before: Said, after: Said
    ) -> dict[str, float]:
        """Metric to value of a case; what cannot be asked is counted in `part`."""
        recalled = [begins(text or "", [r.target_new]) for r, text in zip(case.requests, after.edits, strict=True)]
        found = {RIGHT: float(sum(recalled)), ASKED: float(len(recalled))}
        known = all(_equal(text, hop) for text, hop in zip(before.hops, case.hops_before, strict=True))
        found["instance_wise.before"] = float(known)
        own = {r.fact_id: right for r, right in zip(case.requests, recalled, strict=True)}
        if any(hop.fact in edited and not equal(edited[hop.fact], hop.answers) for hop in case.hops):
            part.skip("multi-hop: another case edited a fact of its chain")
            return found
        facts = [own.get(hop.fact, _equal(text, hop)) for text, hop in zip(after.hops, case.hops, strict=True)]
        found["instance_wise"] = float(all(facts))
        for how, texts, earlier in (("", after.direct, before.direct), (".cot", after.aloud, before.aloud)):
            if None in texts or None in earlier:
                part.skip("multi-hop: a question is longer than the model's context")
                continue
            # Of who takes questions apart, and of a task that does not ask for reasoning, one of the two is empty.
            if texts:
                found |= multi_hop([self._right(text, case.answers, how) for text in texts], how, known)
            if earlier:
                right = [self._right(text, case.answers_before, how) for text in earlier]
                found[f"multi_hop.before{how}"] = float(any(right))
        return found

    def _right(self, text: str | None, answers: Sequence[str], how: str) -> bool:
        if not how or text is None:
            return equal(text or "", answers)
        if not self.how.conclusion:
            return ends(text, answers)
        _, told, answer = text.rpartition(self.how.conclusion)
        return bool(told) and equal(answer, answers)

    def _said(self, models: Sequence[tuple[Patch, Sequence[tuple[ChainCase, Sequence[Hop]]]]]) -> list[list[Said]]:
        """What each model says to its cases; of each the hops that are asked, too."""
        how = self.how
        short, long = [], []
        for patch, cases in models:
            prompts = []
            apart, thoughts = isinstance(patch.prompts, Decomposing), how.thoughts
            questions = [question for case, _ in cases for question in case.questions]
            for case, hops in cases:
                prompts += [("{question}", request.prompt) for request in case.requests]
                prompts += [(of_fact(how), hop.question) for hop in hops]
            short.append((patch, prompts + [(of_chain(how), q) for q in questions if not apart]))
            long.append((patch, [(aloud(how, thoughts), q) for q in questions if thoughts and not apart]))
        size, until = self.protocol.forward_batch, (how.end,)
        at_once = answered(self.lm, short, how.tokens, size, until)
        reasoned = answered(self.lm, long, how.thought_tokens, size, until)
        found = []
        for (patch, cases), one, two in zip(models, at_once, reasoned, strict=True):
            texts = iter(one)
            first = [
                (tuple(next(texts) for _ in case.requests), tuple(next(texts) for _ in hops)) for case, hops in cases
            ]
            if isinstance(patch.prompts, Decomposing):
                own = patch.prompts.reasoned(self.lm, [q for case, _ in cases for q in case.questions], size)
                # Its answers stand where those of reasoning aloud do.
                two = [text and f"{how.conclusion} {text}" for text in own]
            direct, thought = _shared(list(texts), cases), _shared(two, cases)
            found.append([Said(*pair, *both) for pair, *both in zip(first, direct, thought, strict=True)])
        return found

    def _before(self, cases: Sequence[ChainCase]) -> list[Said]:
        """What the untouched model says, of the chain before the edits; shared by all methods."""
        asked = [
            [[r.prompt for r in case.requests], [hop.question for hop in case.hops_before], list(case.questions)]
            for case in cases
        ]
        key = {
            "asked": asked,
            "asking": identity(self.how),
            "version": BEFORE_VERSION,
        }

        def build() -> list[list[list[str | None]]]:
            (said,) = self._said([(Patch(), [(case, case.hops_before) for case in cases])])
            return [[list(s.edits), list(s.hops), list(s.direct), list(s.aloud)] for s in said]

        return [Said(*map(tuple, said)) for said in untouched(self.lm, self.job, "multi-hop-reference", key, build)]

    title: ClassVar[str] = "What the model says to a multi-hop question, before and after"

    def examples(self, edited: Sequence[tuple[ChainCase, Patch]]) -> list[list[str]]:
        rows = []
        for case, patch in edited:
            ((before,),) = self._said([(Patch(), [(case, ())])])
            ((after,),) = self._said([(patch, [(case, ())])])
            asked = f"{case.questions[0]} → {case.answers[0]}"
            rows.append([asked, *((said.direct or said.aloud)[0] or "" for said in (before, after))])
        return rows


def _shared(
    texts: Sequence[str | None], cases: Sequence[tuple[ChainCase, Sequence[Hop]]]
) -> list[tuple[str | None, ...]]:
    """Answers to the questions of all cases, by case; none where they were not asked."""
    left = iter(texts)
    return [tuple(next(left) for _ in case.questions) if texts else () for case, _ in cases]


def _equal(text: str | None, hop: Hop) -> bool:
    return text is not None and equal(text, hop.answers)


def run(protocol: MultiHop, job: Job) -> Iterator[Part]:
    """Edit and score all cases. Raises DataError when there are too few."""
    return session.run(Chains(protocol, job))
