"""What every stage of a pipeline is: a building block that turns a stream of rows into another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from ...components import Component
from ...job import rng
from .rows import Rejected, Row

if TYPE_CHECKING:
    import numpy as np

    from ..chat.asking import Asking

Outcome = Row | Rejected


@dataclass(frozen=True)
class Workbench:
    """What a stage may use beside its rows."""

    seed: int
    name: str = ""
    """The stage's name in this pipeline: scores are recorded under it."""
    models: Mapping[str, Any] = field(default_factory=dict)
    """Opened models by role: language models of adapters/lm."""
    asking: Mapping[str, Asking] = field(default_factory=dict)
    """Models that are asked in words, by role: with journal, retries and an account of what they cost."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """The stage's own data files, by field."""
    warn: Callable[[str], None] = lambda said: None
    """Told what a reader of the result should not overlook."""
    progress: Callable[[int], None] = lambda rows: None
    """Told how many more rows a stage has worked on, by stages that take long for each."""

    def rng(self, item: str = "") -> np.random.Generator:
        """Randomness of this stage (and of one row of it): the same whatever else the pipeline does."""
        return rng(self.seed, f"instruct.{self.name}", item)


class Stage(Component):
    """A step of a pipeline: it takes rows one by one and yields each again, or as `Rejected`, or rows of its own.

    A stage that needs no look at other rows yields each as it comes, so that files larger than memory pass through.
    """

    group: ClassVar[str] = "stage"
    type: str
    name: Annotated[str | None, Field(pattern=r"^[a-zA-Z0-9][\w.-]*$", max_length=60)] = None
    """Under which its scores and rejections are recorded; its type (and a number, for the second one) if empty."""
    generates: ClassVar[bool] = False
    """Whether what it yields are rows of its own, made from those that it takes."""
    scores_are: ClassVar[str] = ""
    """`worse` or `better`: what a high score means for the row; empty where it means neither."""

    def roles(self) -> Mapping[str, str]:
        """Models that it needs, by their role in the pipeline's `models`: `language_model` for one whose
        probabilities it reads, `chat_model` for one that it asks in words (a language model can be asked, too)."""
        return {}

    def run(self, rows: Iterator[Row], bench: Workbench) -> Iterator[Outcome]:
        """Work on the rows in their order; every row that is taken is yielded once, kept or rejected, unless the
        stage `generates`. Raises DataError, ModelError."""
        raise NotImplementedError
