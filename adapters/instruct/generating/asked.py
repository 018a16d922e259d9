"""What all that ask a model share: chunks of rows, a second chance for a reply that says nothing, and what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol, TypeVar

from ....errors import DataError
from ...chat.requests import Reply, Request
from ..prompts.template import Filled
from ..rows import Rejected, Row
from ..stage import Workbench

CHUNK = 64
"""Rows that are asked about together: requests of one chunk may run at the same time, and memory stays flat."""
NO_REPLY, TOO_LONG = "no reply", "too long"
UNPARSABLE = "unparsable reply"
CUT = "cut off"

Value = TypeVar("Value")


class Asks(Protocol):
    """The part of `chat.asking.Asking` that is used."""

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies in the order of the requests."""
        ...

    def forget(self, requests: Sequence[Request]) -> None:
        """Ask for these anew in a later run: their replies said nothing."""
        ...


def chunks(rows: Iterable[Row], size: int = CHUNK) -> Iterator[list[Row]]:
    """The rows in lists of at most `size`, read no further than they are needed."""
    rows = iter(rows)
    while chunk := list(islice(rows, size)):
        yield chunk


def plain(filled: Filled) -> tuple[tuple[str, str], ...]:
    """Messages of a template that asks once."""
    return tuple((role, text or "") for role, text in filled)


def asked(
    asking: Asks, requests: Sequence[Request], parse: Callable[[Reply], Value | None], hint: str
) -> list[tuple[Reply, Value | None]]:
    """Each request's reply and what `parse` finds in it. Where it finds nothing, the model is told so (`hint`) and
    asked once more; without a reply there is nothing to find."""
    found = [(reply, None if reply.error else parse(reply)) for reply in asking.ask(requests)]
    broken = [i for i, (reply, value) in enumerate(found) if value is None and not reply.error]
    again = [
        replace(requests[i], messages=(*requests[i].messages, ("assistant", found[i][0].text), ("user", hint)))
        for i in broken
    ]
    useless: list[Request] = []
    for i, request, reply in zip(broken, again, asking.ask(again) if again else [], strict=True):
        found[i] = (reply, None if reply.error else parse(reply))
        if found[i][1] is None and reply.finish_reason != "length":
            useless += [requests[i], request]
    if useless:
        asking.forget(useless)
    return found


def unanswered(row: Row, reply: Reply) -> Rejected:
    """A row for which there was no usable reply: asked again by a later run, unless the row is too long for the model,
    or the answer for `max_tokens`."""
    if reply.error:
        told = row.noted(error=reply.error)
        return Rejected(told, f"{NO_REPLY}: {reply.kind}", failed=reply.kind != TOO_LONG)
    return Rejected(row, CUT) if reply.finish_reason == "length" else Rejected(row, UNPARSABLE, failed=True)


def shortfall(bench: Workbench, made: int, wanted: int) -> None:
    """Warns where fewer rows were made than asked for."""
    if made < wanted:
        bench.warn(f"{made} of {wanted} rows were made, fewer than asked for")


def text_of(row: Row, column: str) -> str:
    """The text of a row under a name: one of its own, or a field of its record. Raises DataError for none."""
    if column in ("instruction", "input", "prompt", "output"):
        return str(getattr(row, column))
    record = row.record or {}
    value = record.get(column)
    if not isinstance(value, str):
        have = ", ".join(["instruction", "input", "prompt", "output", *record])
        raise DataError(f"row {row.id}: {column}: expected a text; set `column` to one of the row's fields: {have}")
    return value
