"""Pairs of a training split that a model can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...errors import Skip
from .model import LanguageModel
from .requests import EditRequest
from .scoring import Unusable, encode


def usable(lm: LanguageModel, requests: Sequence[EditRequest]) -> list[EditRequest]:
    """The requests whose prompt, with each answer and the end of the text, the model can be asked; without those of
    their harmless pairs that it cannot.

    The same for every method, whichever answers it reads: rivals learn from the same pairs. Raises Skip for none.
    """
    if not requests:
        raise Skip("the task has no training split, and the method learns from one")
    found = [
        replace(request, keep=tuple(pair for pair in request.keep if _fits(lm, *pair)))
        for request in requests
        if all(_fits(lm, request.prompt, answer) for answer in (request.target_new, request.target_true) if answer)
    ]
    if not found:
        raise Skip("no pair of the training split can be asked of this model: all are too long for it, or have no text")
    return found


def _fits(lm: LanguageModel, prompt: str, answer: str) -> bool:
    try:
        return len(encode(lm, prompt, answer).ids) < lm.context
    except Unusable:
        return False
