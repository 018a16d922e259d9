"""Cases of multi-hop editing: some facts of a chain are changed together, and the chain's end is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from ...lm.requests import EditRequest


@dataclass(frozen=True)
class Hop:
    """One fact of a chain."""

    question: str
    cloze: str
    """The same as the beginning of a sentence."""
    answers: tuple[str, ...]
    """The answer and other names of it."""
    fact: str
    """Which fact it is (`EditRequest.fact_id`)."""


@dataclass(frozen=True)
class ChainCase:
    """Some edits, and questions whose answer follows from a chain of facts with the edited ones in it."""

    id: str
    requests: tuple[EditRequest, ...]
    questions: tuple[str, ...]
    """The same question in several words."""
    answers: tuple[str, ...]
    """The right answer after the edits, and other names of it."""
    answers_before: tuple[str, ...]
    """The right answer before them."""
    hops: tuple[Hop, ...]
    """The chain after the edits."""
    hops_before: tuple[Hop, ...]
