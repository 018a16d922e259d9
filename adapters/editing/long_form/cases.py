"""A request with a long target, and what is asked of the edited model beside it."""

from __future__ import annotations

from dataclasses import dataclass

from ...lm.requests import EditRequest
from ..cases import Fact, Probe


@dataclass(frozen=True)
class Passage:
    """A text that the edited model writes, which should agree with the edit and with what stays true."""

    prompt: str
    """What it is asked for."""
    related: bool = False
    """Whether it is about an entity that the edited subject has to do with, and not about the subject."""
    known: tuple[tuple[str, ...], ...] = ()
    """What stays true of whom it is about: for each property the values, of which one should be mentioned."""


@dataclass(frozen=True)
class LongCase:
    """One request. Where a text is said to be wanted, it is compared with what the model writes greedily."""

    request: EditRequest
    paraphrases: tuple[str, ...] = ()
    """Other words for the request's prompt: the whole target is wanted."""
    parts: tuple[Fact, ...] = ()
    """Questions on parts of what the target says, each with its own answer."""
    held: tuple[Probe, ...] = ()
    """Prompts that the edit does not concern: what the untouched model writes is wanted."""
    passages: tuple[Passage, ...] = ()
    facts: frozenset[str] = frozenset()
    """Facts that the target changes beside the request's own."""

    @property
    def changed(self) -> frozenset[str]:
        """All facts that the target changes."""
        return self.facts | {self.request.fact_id}

    @property
    def id(self) -> str:
        """That of its request."""
        return self.request.id

    @property
    def requests(self) -> tuple[EditRequest, ...]:
        """The one request."""
        return (self.request,)
