"""From rows to files: JSON Lines as they come; JSON, Parquet and saved data sets are made of them at the end."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ....alone import check_writable
from ....errors import DataError, UsageError
from ..rows import Rejected, Row
from .reading import KEPT
from .records import SUFFIXES
from .shapes import shape


def record_of(outcome: Row | Rejected, format: str) -> dict[str, Any]:
    """A record as it was read (of a row that a stage made: in `format`); `benchwright` holds id, scores and reason."""
    row = outcome.row if isinstance(outcome, Rejected) else outcome
    # A text alone has no place for an instruction.
    made = "alpaca" if format == "document" else format
    record = dict(row.record) if row.record is not None else shape(made).write(row)
    told: dict[str, Any] = {"id": row.id}
    # Parquet has no maps without fields.
    told |= {name: dict(values) for name, values in (("scores", row.scores), ("notes", row.notes)) if values}
    if isinstance(outcome, Rejected):
        told |= {"stage": outcome.stage, "reason": outcome.reason, "value": outcome.value}
        told |= {"neighbour": outcome.neighbour} if outcome.neighbour is not None else {}
    return {**record, KEPT: told}


def line_of(record: Mapping[str, Any]) -> tuple[bytes, bool]:
    """A line of JSON, and whether all of it is UTF-8: half a character (a lone surrogate) is written as an escape."""
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n", True
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n", False


def _open(file: Path, packed: bool, open_: ExitStack) -> Any:
    """A file to write, until `open_` is closed. No name and no time in an archive: the same rows are the same bytes."""
    raw = open_.enter_context(file.open("wb"))
    return open_.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0)) if packed else raw


class Writer:
    """A file of rows that appears under its name when it is whole; until then, and after a run that was cut short, its
    rows are in `NAME.unfinished`, as JSON Lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = path.with_name(f"{path.name}.unfinished")
        self._halved: str | None = None
        """Id of a row with half a character, which a table cannot hold."""

    def __enter__(self) -> Writer:
        """Raises UsageError where nothing can be written."""
        self._open = ExitStack()
        try:
            self._file = _open(self._lines, self.path.name.endswith(".jsonl.gz"), self._open)
        except OSError as error:
            raise UsageError(f"{self._lines}: cannot be written ({error.strerror})") from error
        return self

    def add(self, outcome: Row | Rejected, format: str) -> None:
        """Write one row; one that a stage made, in `format`."""
        record = record_of(outcome, format)
        line, whole = line_of(record)
        if not whole and self._halved is None:
            self._halved = record[KEPT]["id"]
        self._file.write(line)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._open.close()
        if kind is not None:
            if not self._lines.stat().st_size:
                self._lines.unlink()
            return
        if self.path.name.endswith((".jsonl", ".jsonl.gz")):
            self._lines.replace(self.path)
        else:
            _converted(self._lines, self.path, self._halved)
            self._lines.unlink()


def check_output(option: str, path: Path, overwrite: bool, source: str) -> None:
    """Say before the work that a file cannot be written. Raises UsageError."""
    if path.suffix and not path.name.endswith(SUFFIXES):
        raise UsageError(f"{option} {path}: expected a name with {', '.join(SUFFIXES)}, or a folder for a data set")
    # A folder is what a data set is saved in.
    check_writable(option, None if path.is_dir() and not path.suffix else path)
    read = Path(source).resolve()
    if read in (path.resolve(), *path.resolve().parents) and read.exists():
        raise UsageError(f"{option} {path}: is, or is inside of, what is read; choose another name")
    if path.is_dir() and any(path.iterdir()) and not (path / "dataset_info.json").is_file():
        raise UsageError(f"{option} {path}: is a folder, and not one of a saved data set; choose another name")
    if path.exists() and not overwrite:
        raise UsageError(f"{option} {path}: exists; choose another name, or --force (--resume, to go on with that run)")
    if not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"{option} {path}: cannot be written there")


def _converted(lines: Path, path: Path, halved: str | None) -> None:
    """JSON Lines as one JSON list, as Parquet, or as a saved data set, written aside and renamed. Raises DataError,
    with the rows still in `lines`, for what a table cannot hold."""
    with TemporaryDirectory(dir=path.absolute().parent, prefix=".writing-") as aside:
        made = Path(aside) / path.name
        if path.name.endswith((".json", ".json.gz")):
            with lines.open("rb") as rows, ExitStack() as open_:
                out = _open(made, path.suffix == ".gz", open_)
                for number, line in enumerate(rows):
                    out.write((b",\n" if number else b"[\n") + line.rstrip(b"\n"))
                out.write(b"\n]\n" if lines.stat().st_size else b"[]\n")
        elif halved is not None:
            raise DataError(
                f"{path}: row {halved} holds half a character (a lone surrogate), which a table cannot; the rows are "
                f"in {lines}, as JSON Lines"
            )
        else:
            _as_table(lines, made, Path(aside) / "cache")
        if path.is_dir():
            shutil.rmtree(path)
        made.replace(path)


def _as_table(lines: Path, made: Path, cache: Path) -> None:
    import datasets
    import pyarrow

    # Their bars would stand in the middle of ours.
    silent = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        if lines.stat().st_size:
            rows, shards = datasets.Dataset.from_json(str(lines), cache_dir=str(cache)), None
        else:
            rows, shards = datasets.Dataset.from_dict({KEPT: []}), 1
        rows.to_parquet(str(made)) if made.suffix == ".parquet" else rows.save_to_disk(str(made), num_shards=shards)
    except (pyarrow.ArrowException, datasets.exceptions.DatasetsError, ValueError, TypeError, OverflowError) as error:
        why = error.__cause__ or error
        raise DataError(
            f"{made.name}: these rows cannot be written as a table ({type(why).__name__}: {why}); they are in {lines}, "
            "as JSON Lines"
        ) from error
    finally:
        if not silent:
            datasets.enable_progress_bars()


def dataset_of(outcomes: Iterable[Row | Rejected], format: str) -> Any:
    """A `datasets.Dataset` of rows."""
    import datasets

    return datasets.Dataset.from_list([record_of(outcome, format) for outcome in outcomes])
