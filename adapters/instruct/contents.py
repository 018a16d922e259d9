"""Rows that a task is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from .formats.reading import rows_of
from .formats.records import records
from .rows import Rejected, Row

if TYPE_CHECKING:
    from .params import InstructionRows


@dataclass(frozen=True)
class Instructions:
    """Rows, and an evaluation set that must not be among them."""

    rows: Sequence[Row]
    evaluation: Sequence[Row]
    unreadable: Sequence[Rejected]
    """Records of the file that are no rows."""


def load(data: InstructionRows, files: Mapping[str, Path], limit: int | None) -> Instructions:
    """The rows of the files. Raises DataError."""
    _, found = rows_of(records(str(files["file"])), data.file, data.format)
    outcomes = list(islice(found, limit))
    evaluation: list[Row] = []
    if "evaluation" in files:
        _, items = rows_of(records(str(files["evaluation"])), str(data.evaluation))
        evaluation = [item for item in items if isinstance(item, Row)]
    rows = [o for o in outcomes if isinstance(o, Row)]
    return Instructions(rows, evaluation, [o for o in outcomes if isinstance(o, Rejected)])
