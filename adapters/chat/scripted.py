"""Replies from a file: a model whose answers, and what they hold, are known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, ValidationError

from ...components import Strict
from ...errors import DataError, ModelError
from ...records import read_any
from .params import Prices
from .requests import Reply, Request, failed


class Entry(Strict):
    """One reply of a script. With `match` or `pattern` it answers every request that fits; without, the entries of a
    script are served one after the other, each once."""

    text: str = ""
    """The answer."""
    match: str | None = None
    """Only for requests whose last message contains this."""
    pattern: str | None = None
    """Only for requests in whose last message this regular expression is found."""
    purpose: str | None = None
    """Only for requests with this purpose."""
    finish_reason: Annotated[str, Field(min_length=1)] = "stop"
    """`length` for an answer that was cut off …"""
    error: Annotated[int, Field(ge=400, le=599)] | Annotated[str, Field(min_length=1)] | None = None
    """In place of an answer, as it is when retries are used up: a status (429), or another kind (`timeout`)."""
    contains: Annotated[int, Field(ge=0)] | None = None
    """Items that the text really holds."""
    prompt_tokens: Annotated[int, Field(ge=0)] | None = None
    completion_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Mapping[str, float] | None = None
    """Log-probabilities of answers of one token."""

    @property
    def repeats(self) -> bool:
        """Whether it answers more than one request."""
        return self.match is not None or self.pattern is not None

    def fits(self, request: Request) -> bool:
        """Whether it may answer this request."""
        return (
            self.purpose in (None, request.purpose)
            and (self.match is None or self.match in request.last)
            and (self.pattern is None or re.search(self.pattern, request.last) is not None)
        )

    def reply(self) -> Reply:
        """As an endpoint would give it."""
        if self.error is not None:
            return failed(f"http {self.error}: scripted" if isinstance(self.error, int) else f"{self.error}: scripted")
        return Reply(
            self.text,
            self.finish_reason,
            self.prompt_tokens,
            self.completion_tokens,
            logprobs=self.logprobs,
            contains=self.contains,
        )


def read_script(file: Path) -> tuple[Entry, ...]:
    """The entries of a JSON list, or of JSONL. Raises DataError naming the file, the place and the field."""
    entries = []
    for record in read_any(file):
        try:
            entry = Entry.model_validate(record.data)
            re.compile(entry.pattern or "")
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(f"{file}: {record.place}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except re.error as error:
            raise record.wrong("pattern", f"a regular expression ({error})") from error
        entries.append(entry)
    return tuple(entries)


@dataclass
class Scripted:
    """See `ChatModel`. The first entry that fits answers; equal requests get the same answer, as from a journal."""

    file: Path
    entries: Sequence[Entry]
    fingerprint: str
    prices: Prices | None = None
    paid: ClassVar[bool] = False
    _served: set[int] = field(default_factory=set, init=False, repr=False)
    _given: dict[str, Reply] = field(default_factory=dict, init=False, repr=False)

    def started(self) -> Scripted:
        """From the first entry."""
        return replace(self)

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """In the order of the requests. Raises ModelError where no entry is left that fits."""
        for i, request in enumerate(requests):
            reply = self._given.get(request.key) or self._next(request)
            if not reply.error:
                self._given[request.key] = reply
            yield i, reply

    def verify(self) -> list[str]:
        """Nothing here can change it."""
        return []

    def close(self) -> None:
        """Nothing is open."""

    def _next(self, request: Request) -> Reply:
        for number, entry in enumerate(self.entries):
            if number not in self._served and entry.fits(request):
                if not entry.repeats:
                    self._served.add(number)
                return entry.reply()
        raise ModelError(
            f"{self.file}: no entry is left for a request with the purpose {request.purpose!r} and the last message "
            f"{request.last[:80]!r}; add one"
        )
