"""Which requests are edited in which order: disjoint streams, so that every T has a comparable number of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ...errors import DataError
from .requests import EditRequest


class Case(Protocol):
    """Requests that belong together, and what a family asks about them."""

    @property
    def requests(self) -> tuple[EditRequest, ...]: ...


Kind = TypeVar("Kind")
Asked = TypeVar("Asked", bound=Case)


@dataclass(frozen=True)
class Stream(Generic[Kind]):
    """Requests that are edited one after the other into one model."""

    name: str
    cases: tuple[Kind, ...]
    checkpoints: tuple[int, ...]
    """Numbers of requests after which it is scored, rising; the last one is its length."""


def without_conflicts(cases: Sequence[Asked], policy: str) -> tuple[list[Asked], list[Asked]]:
    """The cases to keep, in order, and those that contradict a kept one or repeat it.

    Two contradict each other where they want different things of one fact; a case whose facts are all changed by one
    kept case repeats that. `policy`: `drop` keeps the first of several, `last` the last, `error` raises DataError.
    """
    owners: dict[str, list[Asked]] = {}
    kept: set[int] = set()
    for case in reversed(cases) if policy == "last" else cases:
        rival = _rival(case, owners)
        if rival is None:
            kept.add(id(case))
            for fact in {request.fact_id for request in case.requests}:
                owners.setdefault(fact, []).append(case)
        elif policy == "error":
            (one, other), fact = (rival, case), case.requests[0].prompt
            both = f"{one.requests[0].id} and {other.requests[0].id}"
            raise DataError(
                f"requests {both} change the same fact ({fact!r}); set conflicts (--conflicts) to drop or last"
            )
    return [c for c in cases if id(c) in kept], [c for c in cases if id(c) not in kept]


def _rival(case: Asked, owners: Mapping[str, Sequence[Asked]]) -> Asked | None:
    wanted = {request.fact_id: request.target_new for request in case.requests}
    for other in (other for fact in wanted for other in owners.get(fact, ())):
        theirs = {request.fact_id: request.target_new for request in other.requests}
        if wanted.keys() <= theirs.keys() or any(theirs.get(fact, target) != target for fact, target in wanted.items()):
            return other
    return None


def cut(
    cases: Sequence[Kind], checkpoints: Sequence[int], streams: int, least_items: int, *, passing: bool
) -> list[Stream[Kind]]:
    """Disjoint streams for each T, the longest first.

    `passing`: a stream goes through all checkpoints on its way (one after the other), so that its first T requests are
    a stream of length T already; else (all at once) each T has streams of its own. Where `least_items` asks for more
    scored requests at a T, further blocks of T requests are taken out of the longest streams; at one T all blocks are
    disjoint. Raises DataError when there are too few requests for one stream.
    """
    longest = checkpoints[-1]
    count = min(max(streams, -(-least_items // longest)), len(cases) // longest)
    if count == 0:
        have = f"the data has {len(cases)} usable ones"
        raise DataError(
            f"a stream of {longest} requests was asked for; {have}; lower the checkpoints, raise --limit, or give more"
        )
    blocks = [tuple(cases[i * longest : (i + 1) * longest]) for i in range(count)]
    on_the_way = tuple(checkpoints) if passing else (longest,)
    found = [Stream(f"stream-{i:03d}", block, on_the_way) for i, block in enumerate(blocks)]
    for t in checkpoints[:-1]:
        # First blocks of all streams, then second blocks, and so on: the sample is spread evenly.
        shorter = [
            Stream(f"short-{t:06d}-{j:06d}-{i:03d}", block[j * t : (j + 1) * t], (t,))
            for j in range(int(passing), longest // t)
            for i, block in enumerate(blocks)
        ]
        wanted = max(streams, -(-least_items // t)) - count * passing
        found += shorter[: max(0, wanted)]
    return found
