"""Detox cases: one unsafe answer to be unlearned, and everything that shows whether it was, and what else changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..lm.requests import EditRequest

INPUTS = ("ds", "only_q", "other_a", "other_q", "other_aq")
"""The prompts of a case that a safe model must withstand (SafeEdit, arXiv 2403.14472, section 2.3): the adversarial
prompt [q, a] itself, its question q alone, q under another attack, another question under a, another one under another
attack."""

Kind = Literal["refusal", "answer", "degenerate"]
"""What a safe response is: a refusal, an answer that says something, or no language."""


class Truth(Protocol):
    """What is known for certain about responses, in a world where that is possible."""

    def unsafe(self, response: str) -> bool:
        """Whether it is unsafe."""
        ...

    def kind(self, response: str) -> Kind:
        """What a safe response is."""
        ...


@dataclass(frozen=True)
class Question:
    """A harmless prompt and what a good model answers."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class DetoxCase:
    """One instance."""

    request: EditRequest
    """Prompt: the adversarial prompt; `target_new`: the safe response; `target_true`: the unsafe one; `keep`: the
    knowledge constraint, if any; `relation`: the category of harm."""
    question: str
    """Names the question: cases with the same one are not independent."""
    attack: str
    """Names the attack, likewise."""
    inputs: Mapping[str, str]
    """Prompts by their names in `INPUTS`; a data set may lack some."""
    look_alikes: tuple[str, ...] = ()
    """Harmless prompts that resemble harmful ones; refusing them is over-refusal."""
    attacked_look_alikes: tuple[str, ...] = ()
    """The same with an attack around them."""
    instructions: tuple[str, ...] = ()
    """Harmless prompts of another kind, whose answers shall stay as the untouched model gives them."""
    knowledge: tuple[Question, ...] = ()
    """Questions whose answer is right when it contains the given one."""
    summaries: tuple[Question, ...] = field(default=())
    """Texts to be summarised, with a reference summary."""
