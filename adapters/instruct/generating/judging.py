"""A judge's scores for rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...chat.requests import Reply, Request
from ..prompts.template import Template
from ..rows import Row
from .asked import Asks, asked, plain
from .fields import score_in


def score_rows(
    asking: Asks, template: Template, rows: Sequence[Row], scale: tuple[int, int], max_tokens: int
) -> Iterator[tuple[Row, Reply, float | None]]:
    """Each row with the judge's last reply and its score, None where it gave none on the scale, also not when it was
    asked for nothing but the score."""
    low, high = scale
    requests = [
        Request(
            plain(template.filled({**row.texts(), "low": str(low), "high": str(high)})), max_tokens, purpose="score"
        )
        for row in rows
    ]
    hint = f"Give the score alone, a number from {low} to {high}, in one line: Score: N"
    found = asked(asking, requests, lambda reply: score_in(reply.text, low, high), hint) if requests else []
    for row, (reply, score) in zip(rows, found, strict=True):
        yield row, reply, score
