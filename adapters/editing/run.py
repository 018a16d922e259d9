"""The protocol: edit, score, put back. Whatever is compared with the untouched model was asked of it before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...job import Job, Part
from ..lm.checkpoints import kept, unfinished
from ..lm.edited import carried_out, costing
from ..lm.interventions import Intervention
from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.scoring import Unusable
from ..lm.streams import Stream, cut, without_conflicts
from .cases import EditCase
from .controls import Controls
from .params import Edit
from .probes import askable, references
from .scoring import Edits, answers, scored

EXAMPLES = 5
"""Cases of which the report shows the answer before and after."""


@dataclass
class _Session:
    """One cell at work."""

    protocol: Edit
    job: Job
    lm: LanguageModel
    method: Intervention
    controls: Controls

    def apart(self, part: Part, cases: Sequence[EditCase]) -> list[tuple[EditCase, Patch]]:
        """A patch for each case alone; the empty one where the method cannot carry it out, which is counted."""
        with costing(part, len(cases)):
            patches = self.method.apply_each(self.lm, [case.request for case in cases], self.job)
        return [(case, self.usable(part, patch)) for case, patch in zip(cases, patches, strict=True)]

    @staticmethod
    def usable(part: Part, patch: Patch | Unusable) -> Patch:
        if isinstance(patch, Patch):
            return patch
        part.skip(f"request not carried out: {patch}")
        return Patch()

    def score(self, part: Part, edits: Edits, suffix: str = "", **at: Any) -> None:
        """Score edited models into `part`; item ids get `suffix`."""
        for item, reasons, found in scored(self.lm, edits, self.protocol, self.controls, self.job):
            for reason in reasons:
                part.skip(reason)
            for metric, value in found.items():
                part.record(item + suffix, metric, value, **at)

    def show(self, part: Part, edited: Sequence[tuple[EditCase, Patch]]) -> None:
        """The answers to the first edited prompts, before and after."""
        rows = []
        for case, patch in edited[:EXAMPLES]:
            with patch.applied(self.lm):
                after = answers(self.lm, case, patch)
            if after:
                rows.append(
                    [f"{case.request.prompt} → {case.request.target_new}", answers(self.lm, case, Patch()), after]
                )
        if rows:
            title = "What the model says to the edited prompt, before and after"
            part.exhibits["examples"] = {"type": "text-pair", "title": title, "rows": rows}


def run(protocol: Edit, job: Job) -> Iterator[Part]:
    """Edit and score all cases. Raises DataError when there are too few requests."""
    lm, method = job.models["subject"], job.method.algorithm
    assert isinstance(lm, LanguageModel)
    assert isinstance(method, Intervention)
    method.prepare(lm, job)
    cases, reasons = askable(lm, job.items())
    unusable = [{"item": case, "skipped": reason} for case, reason in reasons.items()]
    session = _Session(protocol, job, lm, method, Controls.of(lm, job, protocol.forward_batch))
    if protocol.mode == "single":
        yield from _singles(session, cases, unusable)
    else:
        yield from _streams(session, cases, unusable)


def _item(case: EditCase, suffix: str = "", **more: Any) -> dict[str, Any]:
    relation = {"relation": case.request.relation} if case.request.relation else {}
    return {"item": case.request.id + suffix, "subject": case.request.subject, **relation, **more}


def _singles(s: _Session, cases: Sequence[EditCase], unusable: list[dict[str, Any]]) -> Iterator[Part]:
    if unusable and not s.job.has("unusable"):
        yield Part("unusable", items=unusable)
    for name, chunk in s.job.chunks(cases, s.protocol.chunk):
        yield _each_alone(s, name, chunk, shown=chunk[0] is cases[0])


def _each_alone(
    s: _Session, name: str, cases: Sequence[EditCase], suffix: str = "", shown: bool = False, **at: Any
) -> Part:
    """Edit each request on the untouched model; many are worked on at once where the method can."""
    part = Part(name, items=[_item(case, suffix) for case in cases])
    edited = s.apart(part, cases)
    if shown:
        s.show(part, edited)
    known = references(s.lm, cases, s.protocol.forward_batch, s.job)
    s.score(part, [([case], [ref], patch) for (case, patch), ref in zip(edited, known, strict=True)], suffix, **at)
    return part


def _streams(s: _Session, cases: Sequence[EditCase], unusable: list[dict[str, Any]]) -> Iterator[Part]:
    p, job = s.protocol, s.job
    cases, dropped = without_conflicts(cases, p.conflicts)
    unusable = unusable + [{"item": c.request.id, "skipped": "request: contradicts another one"} for c in dropped]
    reachable = tuple(t for t in p.checkpoints if t <= len(cases)) or p.checkpoints
    first = Part("0", items=unusable)
    if too_long := p.checkpoints[len(reachable) :]:
        first.warnings.append(f"{len(cases)} usable requests: too few for T = {', '.join(map(str, too_long))}")
    if not job.has(first.name):
        yield first
    in_order = [cases[i] for i in job.rng("edit-order").permutation(len(cases))]
    streams = cut(in_order, reachable, p.streams, p.least_items, passing=p.mode == "sequential")
    alone = [stream.cases[0] for stream in streams if stream.checkpoints == (1,)]
    longer = [stream for stream in streams if stream.checkpoints != (1,)]
    for number, stream in enumerate(longer):
        job.progress(number, len(longer))
        t = stream.checkpoints[-1]
        # The requests of a short stream are requests of a longer one as well, so they need names of their own.
        yield from _stream(s, stream, "" if t == reachable[-1] else f"@T{t}", shown=number == 0)
    for name, chunk in job.chunks(alone, p.chunk, "alone-"):
        yield _each_alone(s, name, chunk, "" if reachable[-1] == 1 else "@T1", T=1)


def _stream(s: _Session, stream: Stream[EditCase], suffix: str, shown: bool) -> Iterator[Part]:
    """Edit one stream and score it at its checkpoints; each is a part that the next one continues from."""
    p = s.protocol
    todo, done, begun = unfinished(stream, s.job)
    for t, name in todo:
        part, cases = Part(name), stream.cases[:t]
        if t == stream.checkpoints[-1]:
            # All requests of a stream are changed into one model: they are no independent items.
            part.items += [_item(case, suffix, cluster=stream.name) for case in cases]
        requests = [case.request for case in stream.cases[done:t]]
        with costing(part, len(requests)):
            for _, patch, state in carried_out(
                s.lm,
                s.method,
                requests,
                t if p.mode == "batch" else p.batch_size,
                s.job,
                begun,
                partial(s.usable, part),
            ):
                begun = patch, state
        done = t
        if shown and t == stream.checkpoints[-1]:
            s.show(part, [(case, begun[0]) for case in cases])
        s.score(part, [(cases, references(s.lm, cases, p.forward_batch, s.job), begun[0])], suffix, T=t)
        if t != stream.checkpoints[-1]:
            part.state = kept(*begun)
        yield part
