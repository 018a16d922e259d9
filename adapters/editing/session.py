"""The protocol of every track: edit, score, put back. Whatever is compared with the untouched model was asked of it
before.

A track says what it asks: it derives from `Track`, and `run` does the rest (single edits in chunks, batches, streams
with checkpoints, conflicts, going on after a kill, costs, general ability).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from ...errors import DataError
from ...job import Job, Part
from ..bridges.ability import Ability
from ..lm.checkpoints import kept, unfinished
from ..lm.edited import carried_out, costing
from ..lm.interventions import Intervention
from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.requests import EditRequest
from ..lm.scoring import Unusable, encode
from ..lm.streams import Stream, cut, without_conflicts
from .protocol import Editing
from .sources.params import Learnable
from .sources.training import TrainingSplit


class Case(Protocol):
    """What a track asks about some requests that belong together; most have one."""

    @property
    def id(self) -> str: ...

    @property
    def requests(self) -> tuple[EditRequest, ...]: ...


Kind = TypeVar("Kind", bound=Case)


class Track(Generic[Kind]):
    """One cell at work. `score` is the track's own, the rest has defaults."""

    def __init__(self, protocol: Editing, job: Job) -> None:
        """Prepares the method. Raises DataError, ModelError, Skip."""
        lm, method = job.models["subject"], job.method.algorithm
        assert isinstance(lm, LanguageModel)
        assert isinstance(method, Intervention)
        self.protocol, self.lm, self.method = protocol, lm, method
        data, files, split = job.task.data, job.files.get("data", {}), TrainingSplit()
        if "training_requests" in method.consumes:
            split = data.training_split(files) if isinstance(data, Learnable) else TrainingSplit(data.training(files))
        self.job, self.left_out = replace(job, training=split.requests), split.left_out
        self.ability = Ability(lm, self.job, protocol.general, protocol.forward_batch)
        method.prepare(lm, self.job)

    def unfit(self, case: Kind) -> str:
        """Why a case is of no use although its requests can be asked of the model: the same for every method."""
        return ""

    def score(self, part: Part, models: Sequence[tuple[Sequence[Kind], Patch]], suffix: str = "", **at: Any) -> None:
        """Record the values of all cases of some edited models into `part`, under their ids and `suffix`."""
        raise NotImplementedError

    shown: ClassVar[int] = 5
    """Cases of which the report shows what is said before and after."""
    title: ClassVar[str] = "What the model says to the edited prompt, before and after"

    def examples(self, edited: Sequence[tuple[Kind, Patch]]) -> list[list[str]]:
        """Rows for the report: what was asked for, what is said before, and after; may be none."""
        return []

    def show(self, part: Part, edited: Sequence[tuple[Kind, Patch]]) -> None:
        """Put exhibits into `part`: called once, after `score`, with the first chunk or the longest stream."""
        if rows := self.examples(edited[: self.shown]):
            part.exhibits["examples"] = {"type": "text-pair", "title": self.title, "rows": rows}

    def item(self, case: Kind) -> dict[str, Any]:
        """Attributes of a case that tables can be split by."""
        first = case.requests[0]
        return {"subject": first.subject} | ({"relation": first.relation} if first.relation else {})


def run(track: Track[Kind]) -> Iterator[Part]:
    """Edit and score all cases. Raises DataError when there are too few requests."""
    cases, reasons = askable(track.lm, track.job.items(), track.unfit)
    unusable = [{"item": case, "skipped": reason} for case, reason in reasons.items()]
    if track.protocol.mode == "single":
        yield from _singles(track, cases, unusable)
    else:
        yield from _streams(track, cases, unusable)


def askable(
    lm: LanguageModel, cases: Sequence[Kind], unfit: Callable[[Kind], str] = lambda case: ""
) -> tuple[list[Kind], dict[str, str]]:
    """Cases whose requests can be asked of the model, and by id the reasons of the others.

    Raises DataError when none can be.
    """
    usable, reasons = [], {}
    for case in cases:
        try:
            for request in case.requests:
                encode(lm, request.prompt, request.target_new)
        except Unusable as error:
            reasons[case.id] = f"request: {error}"
            continue
        if reason := unfit(case):
            reasons[case.id] = f"request: {reason}"
        else:
            usable.append(case)
    if not usable:
        why = next(iter(reasons.values()), "there are none")
        raise DataError(f"none of the {len(cases)} requests can be asked of this model: {why}")
    return usable, reasons


def _opening(track: Track[Kind], name: str, unusable: list[dict[str, Any]]) -> Part:
    """What is told before anything is edited."""
    part = Part(name, items=unusable)
    if track.left_out:
        part.skip("training record left out: its subject is scored", track.left_out)
    return part


def _item(track: Track[Kind], case: Kind, suffix: str, **more: Any) -> dict[str, Any]:
    return {"item": case.id + suffix, **track.item(case), **more}


def _singles(track: Track[Kind], cases: Sequence[Kind], unusable: list[dict[str, Any]]) -> Iterator[Part]:
    if (unusable or track.left_out) and not track.job.has("unusable"):
        yield _opening(track, "unusable", unusable)
    for name, chunk in track.job.chunks(cases, track.protocol.chunk):
        yield _each_alone(track, name, chunk, shown=chunk[0] is cases[0])


def _each_alone(
    track: Track[Kind], name: str, cases: Sequence[Kind], suffix: str = "", shown: bool = False, **at: Any
) -> Part:
    """Edit each case on the untouched model; many are worked on at once where the method can."""
    part = Part(name, items=[_item(track, case, suffix) for case in cases])
    with costing(part, sum(len(case.requests) for case in cases)):
        patches = [_usable(part, patch) for patch in _apart(track, cases)]
    edited = list(zip(cases, patches, strict=True))
    track.score(part, [([case], patch) for case, patch in edited], suffix, **at)
    if shown:
        track.show(part, edited)
    return part


def _apart(track: Track[Kind], cases: Sequence[Kind]) -> list[Patch | Unusable]:
    if all(len(case.requests) == 1 for case in cases):
        return track.method.apply_each(track.lm, [case.requests[0] for case in cases], track.job)
    found: list[Patch | Unusable] = []
    for case in cases:
        try:
            for request in case.requests:
                track.method.check(track.lm, request, track.job)
            found.append(track.method.apply(track.lm, case.requests, None, track.job)[0])
        except Unusable as error:
            found.append(error)
    return found


def _usable(part: Part, patch: Patch | Unusable) -> Patch:
    """The empty patch where the method cannot carry out a request, which is counted."""
    if isinstance(patch, Patch):
        return patch
    part.skip(f"request not carried out: {patch}")
    return Patch()


def _streams(track: Track[Kind], cases: Sequence[Kind], unusable: list[dict[str, Any]]) -> Iterator[Part]:
    p, job = track.protocol, track.job
    cases, dropped = without_conflicts(cases, p.conflicts)
    unusable = unusable + [{"item": c.id, "skipped": "request: contradicts another one"} for c in dropped]
    reachable = tuple(t for t in p.checkpoints if t <= len(cases))
    first = _opening(track, "0", unusable)
    if too_long := p.checkpoints[len(reachable) :]:
        first.warnings.append(f"{len(cases)} usable requests: too few for T = {', '.join(map(str, too_long))}")
    if not reachable and (most := len(cases) - len(cases) % p.batch_size):
        first.warnings.append(f"scored at T = {most} instead")
        reachable = (most,)
    reachable = reachable or p.checkpoints
    if not job.has(first.name):
        yield first
    in_order = [cases[i] for i in job.rng("edit-order").permutation(len(cases))]
    streams = cut(in_order, reachable, p.streams, p.least_items, passing=p.mode == "sequential")
    alone = [stream.cases[0] for stream in streams if stream.checkpoints == (1,)]
    longer = [stream for stream in streams if stream.checkpoints != (1,)]
    first_of = {stream.checkpoints[-1]: stream for stream in reversed(longer)}
    for number, stream in enumerate(longer):
        job.progress(number, len(longer))
        t = stream.checkpoints[-1]
        # The requests of a short stream are requests of a longer one as well, so they need names of their own.
        suffix, general = "" if t == reachable[-1] else f"@T{t}", p.general is not None and stream is first_of[t]
        yield from _stream(track, stream, suffix, number == 0, general)
    for name, chunk in job.chunks(alone, p.chunk, "alone-"):
        yield _each_alone(track, name, chunk, "" if reachable[-1] == 1 else "@T1", T=1)


def _stream(track: Track[Kind], stream: Stream[Kind], suffix: str, shown: bool, general: bool) -> Iterator[Part]:
    """Edit one stream and score it at its checkpoints; each is a part that the next one continues from."""
    p = track.protocol
    todo, done, begun = unfinished(stream, track.job)
    for t, name in todo:
        part, cases, last = Part(name), stream.cases[:t], t == stream.checkpoints[-1]
        if last:
            # All requests of a stream are changed into one model: they are no independent items.
            part.items += [_item(track, case, suffix, cluster=stream.name) for case in cases]
        at_once = t if p.mode == "batch" else p.batch_size
        groups = list(_groups(stream.cases[:t], done, at_once))
        with costing(part, sum(map(len, groups))):
            for group in groups:
                for _, patch, state in carried_out(
                    track.lm, track.method, group, max(len(group), 1), track.job, begun, partial(_usable, part)
                ):
                    begun = patch, state
        done = t
        track.score(part, [(cases, begun[0])], suffix, T=t)
        if shown and last:
            track.show(part, [(case, begun[0]) for case in cases])
        if general and last:
            track.ability.record(part, stream.name, begun[0], T=t)
        if not last:
            part.state = kept(*begun)
        yield part


def _groups(cases: Sequence[Kind], done: int, at_once: int) -> Iterator[list[EditRequest]]:
    """The requests of `at_once` cases after the other, from the first that is not `done`; without those that a case
    before asks for: a fact of two questions is changed once."""
    known: set[tuple[str, str]] = set()

    def new(request: EditRequest) -> bool:
        key, before = (request.fact_id, request.target_new), len(known)
        known.add(key)
        return len(known) > before

    for case in cases[:done]:
        known.update((request.fact_id, request.target_new) for request in case.requests)
    for start in range(done, len(cases), at_once):
        yield [r for case in cases[start : start + at_once] for r in case.requests if new(r)]
