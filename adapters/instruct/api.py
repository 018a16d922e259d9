"""Pipelines from Python: a `datasets.Dataset` in, two of them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ...alone import method_alone
from .formats.records import of_rows, records
from .formats.writing import dataset_of
from .process import Account, process
from .rows import Rejected, Row

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Processed:
    """What a pipeline made of a data set. Both have the columns of their records, and a column `benchwright` with id,
    scores and, of rejected rows, stage, reason and neighbour."""

    kept: Dataset
    rejected: Dataset
    account: Account


def run_pipeline(
    pipeline: str | Path,
    data: str | Path | Iterable[Mapping[str, Any]],
    *,
    models: Mapping[str, str] | None = None,
    format: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    device: str | None = None,
    replies: str | Path | None = None,
    specs: Sequence[Path] = (),
) -> Processed:
    """Put data through a pipeline, as `benchwright instruct run` does, but in memory.

    `pipeline`: a method's name or file; `data`: a `Dataset`, any iterable of records, or what `--in` takes; `models`:
    names by role; `replies`: a folder where the replies of asked models are kept for a later call.

    Raises SpecError, UsageError, DataError, ModelError.
    """
    read = records(str(data)) if isinstance(data, str | Path) else of_rows(data)
    kept: list[Row] = []
    rejected: list[Rejected] = []
    opened = method_alone(str(pipeline), models=models or {}, device=device, specs=specs)
    try:
        with TemporaryDirectory() as passing:
            folder = Path(replies or passing)
            account = process(
                opened,
                read,
                str(data) if isinstance(data, str | Path) else "data",
                keep=lambda name, row: kept.append(row),
                turn_away=lambda name, row: rejected.append(row),
                journal=lambda role: folder / f"{role}.jsonl",
                format=format,
                seed=seed,
                limit=limit,
            )
    finally:
        opened.close()
    return Processed(dataset_of(kept, account.format), dataset_of(rejected, account.format), account)
