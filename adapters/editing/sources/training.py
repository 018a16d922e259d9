"""What editors may learn from before they edit: requests of subjects that are not asked about later."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ...lm.requests import EditRequest
from ..cases import EditCase
from .splits import normalised


@dataclass(frozen=True)
class TrainingSplit:
    """Requests to learn from, and what was left out because it is scored."""

    requests: Sequence[EditRequest] = ()
    left_out: int = 0
    """Records whose subject has a record in the scored split too."""


def training_split(found: Iterable[EditCase], scored: Sequence[EditCase]) -> TrainingSplit:
    """The requests of `found`, without the subjects of `scored`, and without kept prompts that are asked there."""
    subjects = {normalised(case.request.subject) for case in scored}
    asked = {normalised(prompt) for case in scored for prompt in _asked(case)}
    requests, left_out = list[EditRequest](), 0
    for case in found:
        if normalised(case.request.subject) in subjects:
            left_out += 1
        else:
            requests += requests_of(case, asked)
    return TrainingSplit(tuple(requests), left_out)


def requests_of(case: EditCase, asked: Collection[str] = ()) -> list[EditRequest]:
    """The request with its own prompt and with each rephrasing; each keeps the prompts of locality, but for those that
    are `asked` (`normalised`)."""
    probes = (probe for of_kind in case.locality.values() for probe in of_kind)
    keep = tuple((p.prompt, p.answers[0]) for p in probes if normalised(p.prompt) not in asked)
    return [replace(case.request, prompt=prompt, keep=keep) for prompt in (case.request.prompt, *case.rephrases)]


def _asked(case: EditCase) -> Iterator[str]:
    yield case.request.prompt
    yield from case.rephrases
    for kinds in (case.locality, case.portability):
        yield from (probe.prompt for of_kind in kinds.values() for probe in of_kind)
