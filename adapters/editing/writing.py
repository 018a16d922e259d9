"""Texts that an edited model writes about a subject: how varied they are, and whether they say what the edit says."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from ...job import Job
from ..lm.fluency import n_gram_entropy
from ..lm.generation import sampled
from ..lm.model import LanguageModel
from ..lm.patch import Patch
from ..lm.scoring import Unusable, encode_prompt
from .cases import EditCase
from .params import Fluency

if TYPE_CHECKING:
    from .likeness import Likeness

Wanted = Sequence[tuple[EditCase, Patch, int]]
"""Cases, each with the patch of its model and the number by which the rows of that model are known."""


def written(
    lm: LanguageModel, wanted: Wanted, how: Fluency, likeness: Likeness | None, size: int, job: Job
) -> list[tuple[dict[str, float], list[str]]]:
    """Of each case the values of what the model in force writes, and the reasons of what has none.

    Each request has draws of its own, the same for all methods and whatever else is written beside it.
    """
    begun = [_begun(lm, case, patch, how) for case, patch, _ in wanted]
    rows = [row for found, _ in begun for _, row, _ in found]
    owners = [owner for (found, _), (_, _, owner) in zip(begun, wanted, strict=True) for _ in found]
    lengths = [length for found, _ in begun for _, _, length in found]
    draws = [
        job.rng("fluency", case.request.id).random((len(found), how.tokens))
        for (found, _), (case, _, _) in zip(begun, wanted, strict=True)
    ]
    tokens = iter(sampled(lm, rows, lengths, size, how.top_k, np.concatenate(draws), owners) if rows else ())
    values = []
    for (found, reasons), (case, _, _) in zip(begun, wanted, strict=True):
        texts = [f"{p} {lm.tokenizer.decode(next(tokens), skip_special_tokens=True)}" for p, _, _ in found]
        values.append((_values(case, texts, likeness, reasons), reasons))
    return values


def _begun(
    lm: LanguageModel, case: EditCase, patch: Patch, how: Fluency
) -> tuple[list[tuple[str, tuple[int, ...], int]], list[str]]:
    """Beginnings as text and as tokens, with the number of tokens to write; and the reasons of those that cannot be."""
    found, reasons = [], []
    prompts = (case.request.prompt,) if how.prompts == "edited" else case.openings
    if not prompts:
        reasons.append("fluency: the data has no generation prompts")
    for prompt in prompts:
        try:
            row = encode_prompt(lm, patch.prompt(prompt))
            # CounterFact's texts are as long with their prompts, notes before those aside.
            own = 0 if how.prompts == "edited" else len(encode_prompt(lm, prompt))
            length = min(how.tokens - own, lm.context - len(row))
            if length < 1:
                raise Unusable("the prompt leaves no room for a text")
            found.append((prompt, row, length))
        except Unusable as error:
            reasons.append(f"fluency: {error}")
    return found, reasons


def _values(case: EditCase, texts: Sequence[str], likeness: Likeness | None, reasons: list[str]) -> dict[str, float]:
    if not texts:
        return {}
    values = {"fluency": fmean(n_gram_entropy(text) for text in texts)}
    if likeness:
        if case.alike:
            values["consistency"] = likeness.of(" ".join(texts), " ".join(case.alike))
        else:
            reasons.append("consistency: the data has no text about others that are what the edit says")
    return values
