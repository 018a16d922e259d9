"""What a spec of this family can say. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ...components import NOT_IDENTITY, Data, DataFile, TaskProtocol
from ...metrics import Metric

if TYPE_CHECKING:
    from ...job import Job, Part
    from .data import EditCase


class KnowEdit(Data):
    """Edit requests in KnowEdit's format (Zhang et al. 2024, arXiv 2401.01286): a JSON list of records."""

    yields: ClassVar[str] = "edit_case"
    type: Literal["knowedit"]
    file: DataFile
    """The records."""

    def load(self, files: Mapping[str, Path], limit: int | None) -> list[EditCase]:
        """See data.py. Raises DataError naming record and field."""
        from .data import load_knowedit

        return load_knowedit(files["file"], limit)


class Edit(TaskProtocol):
    """Edit, score, put back."""

    roles: ClassVar[Mapping[str, str]] = {"subject": "language_model"}
    items: ClassVar[str] = "edit_case"
    offers: ClassVar[frozenset[str]] = frozenset({"edit_requests"})
    accepts: ClassVar[frozenset[str]] = frozenset({"patch"})
    type: Literal["edit"]
    mode: Literal["single"] = "single"
    """`single`: each request alone on the untouched model."""
    batch_size: Annotated[int, Field(ge=1), NOT_IDENTITY] = 64
    """Prompts in one forward pass; its effect is float noise."""
    chunk: Annotated[int, Field(ge=1), NOT_IDENTITY] = 25
    """Requests that are committed together; a kill costs at most so many."""

    def metrics(self) -> tuple[Metric, ...]:
        """See metrics.py."""
        from .metrics import METRICS

        return METRICS

    def run(self, job: Job) -> Iterator[Part]:
        """See run.py."""
        from .run import edit_one_by_one

        return edit_one_by_one(self, job)
