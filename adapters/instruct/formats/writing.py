"""From rows to files: JSON Lines as they come; JSON, Parquet and saved data sets are made of them at the end."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ....errors import UsageError
from ..rows import Rejected, Row
from .reading import KEPT
from .records import SUFFIXES
from .shapes import shape


def record_of(outcome: Row | Rejected, format: str) -> dict[str, Any]:
    """A record as it was read (of a row that a stage made: in `format`); `benchwright` holds id, scores and reason."""
    row = outcome.row if isinstance(outcome, Rejected) else outcome
    record = dict(row.record) if row.record is not None else shape(format).write(row)
    told: dict[str, Any] = {
        "id": row.id,
        "scores": dict(row.scores),
        **({"notes": dict(row.notes)} if row.notes else {}),
    }
    if isinstance(outcome, Rejected):
        told |= {"stage": outcome.stage, "reason": outcome.reason, "value": outcome.value}
        told |= {"neighbour": outcome.neighbour} if outcome.neighbour is not None else {}
    return {**record, KEPT: told}


def line_of(record: Mapping[str, Any]) -> bytes:
    """A line of JSON. Half a character (a lone surrogate), which UTF-8 has no bytes for, is written as an escape."""
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record).encode() + b"\n"


class Writer:
    """A file of rows that appears under its name when it is whole; until then, and after a run that was cut short, its
    rows are in `NAME.unfinished`, as JSON Lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = path.with_name(f"{path.name}.unfinished")

    def __enter__(self) -> Writer:
        self._raw = self._lines.open("wb")
        packed = self.path.name.endswith(".jsonl.gz")
        # No name and no time in it: the same rows are the same bytes.
        self._file: Any = gzip.GzipFile("", "wb", fileobj=self._raw, mtime=0) if packed else self._raw
        return self

    def add(self, outcome: Row | Rejected, format: str) -> None:
        """Write one row; one that a stage made, in `format`."""
        self._file.write(line_of(record_of(outcome, format)))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        self._raw.close()
        if kind is not None:
            if not self._lines.stat().st_size:
                self._lines.unlink()
            return
        if self.path.name.endswith((".jsonl", ".jsonl.gz")):
            self._lines.replace(self.path)
        else:
            _converted(self._lines, self.path)
            self._lines.unlink()


def check_output(option: str, path: Path, overwrite: bool, source: str) -> None:
    """Say before the work that a file cannot be written. Raises UsageError."""
    if path.suffix and not path.name.endswith(SUFFIXES):
        raise UsageError(f"{option} {path}: expected a name with {', '.join(SUFFIXES)}, or a folder for a data set")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {path.parent}")
    if path.resolve() == Path(source).resolve():
        raise UsageError(f"{option} {path}: is the file that is read; choose another name")
    if path.is_dir() and any(path.iterdir()) and not (path / "dataset_info.json").is_file():
        raise UsageError(f"{option} {path}: is a folder, and not one of a saved data set; choose another name")
    if path.exists() and not overwrite:
        raise UsageError(f"{option} {path}: exists; choose another name, or --force (--resume goes on with it)")
    if not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"{option} {path}: cannot be written there")


def _converted(lines: Path, path: Path) -> None:
    """JSON Lines as one JSON list, as Parquet, or as a saved data set, never all in memory (but for JSON)."""
    if path.name.endswith((".json", ".json.gz")):
        opened: Any = gzip.GzipFile(path, "wb", mtime=0) if path.suffix == ".gz" else path.open("wb")
        with lines.open("rb") as rows, opened as out:
            out.write(b"[\n" + b",\n".join(line.rstrip(b"\n") for line in rows) + b"\n]\n")
        return
    import datasets

    with TemporaryDirectory(dir=path.absolute().parent) as cache:
        rows = datasets.Dataset.from_json(str(lines), cache_dir=cache)
        if path.suffix == ".parquet":
            rows.to_parquet(str(path))
        else:
            shutil.rmtree(path, ignore_errors=True)
            rows.save_to_disk(str(path))


def dataset_of(outcomes: Iterable[Row | Rejected], format: str) -> Any:
    """A `datasets.Dataset` of rows."""
    import datasets

    return datasets.Dataset.from_list([record_of(outcome, format) for outcome in outcomes])
