"""Which requests are edited in which order: disjoint streams, so that every T has a comparable number of items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ...errors import DataError
from .requests import EditRequest


class Case(Protocol):
    """What a family asks of a model beside a request."""

    @property
    def request(self) -> EditRequest: ...


Kind = TypeVar("Kind", bound=Case)


@dataclass(frozen=True)
class Stream(Generic[Kind]):
    """Requests that are edited one after the other into one model."""

    name: str
    cases: tuple[Kind, ...]
    checkpoints: tuple[int, ...]
    """Numbers of requests after which it is scored, rising; the last one is its length."""


def without_conflicts(cases: Sequence[Kind], policy: str) -> tuple[list[Kind], list[Kind]]:
    """The cases to keep, in order, and those that change a fact which a kept one changes too.

    `policy`: `drop` keeps the first of several, `last` the last, `error` raises DataError.
    """
    kept: dict[str, Kind] = {}
    for case in reversed(cases) if policy == "last" else cases:
        first = kept.setdefault(case.request.fact_id, case)
        if policy == "error" and first is not case:
            both = f"{first.request.id} and {case.request.id}"
            same = f"change the same fact ({case.request.prompt!r})"
            raise DataError(f"requests {both} {same}; set conflicts (--conflicts) to drop or last")
    chosen = {id(case) for case in kept.values()}
    return [c for c in cases if id(c) in chosen], [c for c in cases if id(c) not in chosen]


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
        raise DataError(f"a stream of {longest} requests was asked for; {have}; lower the checkpoints or give more")
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
