"""A model that says what it said in an earlier run, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ...errors import DataError, ModelError
from .journal import Journal
from .requests import Reply, Request


@dataclass(frozen=True)
class Replay:
    """See `ChatModel`."""

    journal: Journal
    model: str
    """Whose replies."""
    fingerprint: str
    prices: ClassVar[None] = None
    paid: ClassVar[bool] = False

    def started(self) -> Replay:
        """It has no state."""
        return self

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """In the order of the requests. Raises ModelError where the journal has no reply."""
        for i, request in enumerate(requests):
            reply = self.journal.get(self.model, request.key)
            if reply is None:
                raise ModelError(
                    f"{self.journal.file}: holds no reply to the request {request.key} with the purpose "
                    f"{request.purpose!r} and the last message {request.last[:80]!r}; ask the model itself"
                )
            yield i, reply

    def verify(self) -> list[str]:
        """Nothing here can change it."""
        return []

    def close(self) -> None:
        """Nothing is open."""


def open_replay(file: Path, model: str | None, fingerprint: str) -> Replay:
    """Replies of `model`, or of the only one in the journal. Raises DataError, ModelError."""
    if not file.is_file():
        raise DataError(f"{file}: no such journal")
    journal = Journal(file)
    known = journal.models
    if model is None and len(known) != 1:
        raise ModelError(f"{file}: holds replies of {len(known)} models; say whose with `model`: {', '.join(known)}")
    if model is not None and model not in known:
        raise ModelError(f"{file}: holds no replies of the model {model!r}; known: {', '.join(known) or 'none'}")
    return Replay(journal, model or known[0], fingerprint)
