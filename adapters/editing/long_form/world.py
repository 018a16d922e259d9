"""Lives of a world's people: the edits of one subject, told in one text.

The first fact is the request; the target goes on with the others, sentence by sentence, as the world's texts do. Each
fact is then asked for by itself, as UnKE asks for parts of an answer.
"""

from __future__ import annotations

from typing import Literal

from ...lm.requests import EditRequest
from ...worlds.knowledge.world import World
from ..cases import EditCase, Fact
from ..sources.world import world_cases
from .cases import LongCase

STOP = " ."
"""What ends a sentence of these worlds."""

HELD = 4
"""Prompts on others that are watched."""


def lives(world: World, split: Literal["validation", "test"], facts: int) -> list[LongCase]:
    """One case for each subject with so many changed facts, in the order of its first."""
    of_subject: dict[str, list[EditCase]] = {}
    for case in world_cases(world, split):
        of_subject.setdefault(case.request.subject, []).append(case)
    return [_life(cases[:facts]) for cases in of_subject.values() if len(cases) >= facts]


def _life(cases: list[EditCase]) -> LongCase:
    first, *others = cases
    sentences = [first.request.target_new, *(f"{c.request.prompt} {c.request.target_new}" for c in others)]
    edited = {c.request.fact for c in cases}
    held = {p.prompt: p for probes in first.locality.values() for p in probes if not p.facts & edited}
    return LongCase(
        EditRequest(
            id=f"life({first.request.subject})",
            prompt=first.request.prompt,
            subject=first.request.subject,
            target_new=f"{STOP} ".join(sentences) + STOP,
            fact=f"life({first.request.subject})",
        ),
        first.rephrases[:1],
        tuple(Fact(c.request.prompt, c.request.target_new) for c in cases),
        tuple(held.values())[:HELD],
        facts=frozenset(edited),
    )
