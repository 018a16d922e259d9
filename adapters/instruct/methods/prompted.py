"""The stage in which a model answers rows, prompted in a way that is data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from ..prompts.loading import Prompt
from ..rows import Row
from ..stage import Outcome, Stage, Workbench


class Answer(Stage):
    """The row's output is written by a model, prompted with a template: plain, with examples, with a chain of thought,
    several rows at once, in several turns, or to extract information. The templates (../prompts) name their sources.

    Where the template's rule finds no answer in a reply, or the reply was cut off, the model is asked once more; then
    the row is turned away.
    """

    type: Literal["answer"]
    model: str = "writer"
    """Role of the model."""
    prompt: Prompt = Prompt(template="plain")
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """Of each reply."""

    def roles(self) -> dict[str, str]:
        """The model that answers."""
        return {self.model: "chat_model"}

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """See ../generating/answering.py. Raises SpecError, UsageError, ModelError."""
        from ..generating.answering import answered

        return answered(self, rows, bench)
