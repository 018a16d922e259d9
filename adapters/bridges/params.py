"""What a spec can say of other evaluation libraries. Nothing heavy is imported here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from ...components import DataFolder, Strict


class General(Strict):
    """General ability, by lm-evaluation-harness."""

    tasks: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """Names of lm-eval's tasks, groups or tags: its own, whose data must lie in Hugging Face's cache (nothing is
    downloaded), or those of `folder`."""
    folder: DataFolder | None = None
    """Task files of one's own, lm-eval's YAML without `!function`, and the data that they name."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """As many documents of each task, the first ones."""

    @field_validator("tasks")
    @classmethod
    def _named_once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({name for name in tasks if tasks.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} is named twice")
        return tasks
