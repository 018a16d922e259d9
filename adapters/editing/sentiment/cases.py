"""Topics as cases: which sentiment a model shall have, the replies that show it, and another topic to leave alone.

A record of the file (`blender_test.json`, 800 topics) has `ent` (the topic), `pos` and `neg` (replies). Which of the
two sentiments is wanted, and which question goes with which reply, follow from the topic alone (`canonical.place`), the
same for every method and machine; SERAC and KnowEdit draw them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ....canonical import place
from ....errors import DataError
from ....records import Record, read_records
from ...lm.requests import EditRequest
from ..sources.splits import in_validation, normalised

if TYPE_CHECKING:
    from .params import ConvSent

SENTIMENTS = {"pos": "positive", "neg": "negative"}

Replies = tuple[tuple[str, str], ...]
"""Questions with replies."""


@dataclass(frozen=True)
class SentimentCase:
    """One topic."""

    request: EditRequest
    sentiment: str
    """`positive` or `negative`: what the model shall have."""
    wanted: Replies
    unwanted: Replies
    elsewhere: Replies
    """All replies on another topic."""
    neighbour: str
    """The fact that stands for the other topic, as `EditRequest.fact_id`."""

    @property
    def id(self) -> str:
        """That of its request."""
        return self.request.id

    @property
    def requests(self) -> tuple[EditRequest, ...]:
        """The one request."""
        return (self.request,)


def sentiment_cases(file: Path, how: ConvSent) -> list[SentimentCase]:
    """The topics of a split; each has the next one of the split as its neighbour. Raises DataError."""
    records = [
        record
        for record in read_records(file)
        if how.split == "all" or in_validation(record.text("ent")) == (how.split == "validation")
    ]
    if len(records) < 2:
        raise DataError(f"{file}: expected two topics at least, got {len(records)} in the split {how.split!r}")
    return [_case(record, records[(i + 1) % len(records)], how) for i, record in enumerate(records)]


def _case(record: Record, neighbour: Record, how: ConvSent) -> SentimentCase:
    topic = record.text("ent")
    wanted, unwanted = ("pos", "neg") if place("sentiment", normalised(topic)) < 0.5 else ("neg", "pos")
    good = _replies(record, wanted, how.questions)
    (question, reply), *_ = good
    return SentimentCase(
        EditRequest(
            id=f"{record.index:06d}",
            prompt=how.instruction.replace("{sentiment}", SENTIMENTS[wanted]).replace("{question}", question),
            subject=topic,
            target_new=reply,
            fact=normalised(topic),
        ),
        SENTIMENTS[wanted],
        good,
        _replies(record, unwanted, how.questions),
        tuple(pair for kind in SENTIMENTS for pair in _replies(neighbour, kind, how.questions)),
        normalised(neighbour.text("ent")),
    )


def _replies(record: Record, kind: str, questions: Sequence[str]) -> Replies:
    """Raises DataError where there are none."""
    topic, texts = record.text("ent"), record.texts(kind)
    if not texts:
        raise record.wrong(kind, "a list of replies")
    return tuple(_asked(topic, kind, texts, questions))


def _asked(topic: str, kind: str, texts: Sequence[str], questions: Sequence[str]) -> Iterator[tuple[str, str]]:
    for i, text in enumerate(texts):
        which = int(place("question", normalised(topic), kind, str(i)) * len(questions))
        yield questions[which].replace("{}", topic), text.strip()
