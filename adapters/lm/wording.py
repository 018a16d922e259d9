"""Texts with places that are filled in, as a spec says them. Nothing heavy is imported here."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _can_be_filled(template: str) -> str:
    try:
        template.format(prompt="", subject="", target_new="")
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ValueError(f"{error} cannot be filled; known: {{prompt}}, {{subject}}, {{target_new}}") from error
    return template


def _asks(question: str) -> str:
    if "{question}" not in question:
        raise ValueError("expected `{question}` in it")
    return question


Note = Annotated[str, Field(min_length=1), AfterValidator(_can_be_filled)]
"""A fact as it is told; `{prompt}`, `{subject}` and `{target_new}` are filled in."""
Form = Annotated[str, AfterValidator(_asks)]
"""What becomes of a question, `{question}`."""
