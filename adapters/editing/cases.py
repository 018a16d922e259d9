"""Edit cases: a request and the probes that show what else it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..lm.requests import EditRequest


@dataclass(frozen=True)
class Fact:
    """A question and its answer."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Probe:
    """A prompt and the answers that count as right; for locality only the length of the first one matters."""

    prompt: str
    answers: tuple[str, ...]
    facts: frozenset[str] = frozenset()
    """Facts (`EditRequest.fact_id`) that the right answer rests on, beside the edited one. Where one of them is edited
    as well, the answer is no longer known, and the probe is left out."""
    needs: tuple[Fact, ...] = ()
    """What the untouched model must know for the question to be a fair one; the probe is left out where it does not."""
    generated: bool = False
    """Whether the model reasons aloud: the greedy text up to the end of its sentence must end with an answer."""


@dataclass(frozen=True)
class EditCase:
    """One request with its probes; locality and portability by kind (`metrics.KINDS`)."""

    request: EditRequest
    rephrases: tuple[str, ...] = ()
    locality: Mapping[str, tuple[Probe, ...]] = field(default_factory=dict)
    portability: Mapping[str, tuple[Probe, ...]] = field(default_factory=dict)
    articles: tuple[str, ...] = ()
    """Other texts on what was edited, which a model that has understood it shall find likely (WISE's Temporal)."""
    openings: tuple[str, ...] = ()
    """Beginnings of texts about the subject, for the model to go on from (CounterFact's generation prompts)."""
    alike: tuple[str, ...] = ()
    """Texts about others that are what the edit makes the subject, to compare what is written with."""
    essence: tuple[str, ...] = ()
    """Texts about the subject, which shall stay as likely as before."""

    @property
    def id(self) -> str:
        """That of its request."""
        return self.request.id

    @property
    def requests(self) -> tuple[EditRequest, ...]:
        """The one request."""
        return (self.request,)
