"""The items of this family: a prompt with what should follow it, and, where it is known, its counterpart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Text: TypeAlias = str | tuple[int, ...]
"""Text, or token ids for a model whose vocabulary is known."""
Answer: TypeAlias = str | int
"""Text that follows after one space, or a token id."""


@dataclass(frozen=True)
class Question:
    """What is asked. `pairing.py` makes a pair of token sequences of it for one model."""

    id: str
    clean: Text
    """The prompt."""
    answers: tuple[Answer, ...]
    """What is right after it; several where any of them is."""
    corrupt: Text | None = None
    """The same prompt with what matters exchanged; when None, that of another question of the group is taken."""
    wrongs: tuple[Answer, ...] = ()
    """What is wrong after it; with `corrupt` None the answers of that other question."""
    group: str = ""
    """Questions among which a counterpart is looked for: those of one relation and one template."""
    subject: str = ""
    """As it stands in a prompt of text; what causal tracing corrupts. May be empty."""
    relation: str = ""
    attributes: Mapping[str, str | float | bool] = field(default_factory=dict)
    """By which metrics may slice: `kind: factual` …"""
    place: str = field(default="", compare=False)
    """File and record of a question of somebody's file, for errors."""
