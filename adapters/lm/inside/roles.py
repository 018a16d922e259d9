"""Where a subject stands in a prompt, and what the other positions are to it."""

from __future__ import annotations

import re

from ..model import LanguageModel
from ..scoring import Unusable, as_asked, tokenised

Span = tuple[int, int]
"""First token of a subject, and the one behind its last."""

ROLES = (
    *("first subject token", "middle subject tokens", "last subject token"),
    *("first token after", "further tokens", "last token"),
)
"""The rows of the average trace of Meng et al. 2022 (arXiv 2202.05262, figure 2)."""


def subject_span(lm: LanguageModel, prompt: str, subject: str) -> Span:
    """Tokens of a subject in a prompt: of its last occurrence, as whole words where there is one.

    Raises Unusable when it is absent.
    """
    if not subject.strip() or subject not in prompt:
        raise Unusable("the prompt does not contain its subject")
    whole = [m.start() for m in re.finditer(rf"(?<!\w){re.escape(subject)}(?!\w)", prompt)]
    text = as_asked(lm, prompt)
    # A chat template or notes may stand around the prompt.
    begin = max(text.rfind(prompt), 0) + (whole[-1] if whole else prompt.rfind(subject))
    end = begin + len(subject.rstrip())
    inside = [i for i, (start, stop) in enumerate(tokenised(lm, text)[1]) if start < end and stop > begin]
    return inside[0], inside[-1] + 1


def role(position: int, length: int, span: Span) -> str | None:
    """What a position of a prompt of `length` tokens is; None before the subject.

    A subject of one token is its last token; the prompt's last token is that, unless it is the subject's.
    """
    start, stop = span
    if position < start:
        return None
    if position < stop:
        return ROLES[2] if position == stop - 1 else ROLES[0] if position == start else ROLES[1]
    if position == length - 1:
        return ROLES[5]
    return ROLES[3] if position == stop else ROLES[4]


def places(length: int, span: Span) -> list[list[int]]:
    """The positions of each role, in the order of `ROLES`; some may be empty."""
    found: list[list[int]] = [[] for _ in ROLES]
    for position in range(span[0], length):
        name = role(position, length, span)
        assert name is not None
        found[ROLES.index(name)].append(position)
    return found
