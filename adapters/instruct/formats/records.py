"""Records of files that may be larger than memory: JSON Lines, a JSON list, Parquet, data sets of Hugging Face."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ....errors import DataError

HUB = "hf:"
"""`hf:owner/name`, `hf:owner/name@revision`, `hf:owner/name:split`."""
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
BLOCK = 1 << 20


@dataclass(frozen=True)
class Broken:
    """Something in a file that is no record."""

    place: str
    """`line 4`."""
    reason: str
    text: str
    """What is there, shortened."""


Found = tuple[str, Mapping[str, Any]] | Broken
"""A record with its place, or what is broken."""


def records(source: str) -> Iterator[Found]:
    """The records of a file, of a saved data set's folder, or of a data set of the hub, one after the other.

    Raises DataError for what cannot be read at all.
    """
    path = Path(source)
    if source.startswith(HUB):
        return _hub(source.removeprefix(HUB))
    if path.is_dir():
        return _saved(path)
    if not path.is_file():
        raise DataError(f"{source}: no such file")
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.name.endswith(SUFFIXES):
        return _json(path)
    raise DataError(f"{source}: expected a file named {', '.join(SUFFIXES)}, or the folder of a saved data set")


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _json(path: Path) -> Iterator[Found]:
    try:
        with _open(path) as file:
            begins = file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
            file.seek(0)
            yield from _listed(path, file) if begins == b"[" else _lines(file)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _lines(file: IO[bytes]) -> Iterator[Found]:
    for number, line in enumerate(file, start=1):
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if text.strip():
            yield _record(f"line {number}", text)


def _record(place: str, text: bytes) -> Found:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Broken(place, f"not JSON ({error})", text[:200].decode("utf-8", "replace").rstrip())
    if not isinstance(value, dict):
        return Broken(place, "not a record (a JSON map)", text[:200].decode("utf-8", "replace").rstrip())
    return place, value


def _listed(path: Path, file: IO[bytes]) -> Iterator[Found]:
    """The items of one JSON list, without holding more than one of them and a block of the file."""
    decode = codecs.getincrementaldecoder("utf-8-sig")("strict").decode
    parse, text, number, ended = json.JSONDecoder().raw_decode, "", 0, False
    try:
        while True:
            text = text.lstrip("[, \t\r\n" if number == 0 else ", \t\r\n")
            if text.startswith("]"):
                return
            try:
                value, end = parse(text)
                # A number or word may go on in the next block; a map ends where it ends.
                if not ended and end == len(text) and not isinstance(value, dict):
                    raise ValueError("perhaps not all of it")
            except ValueError as error:
                if ended:
                    raise DataError(f"{path}: record {number} (from 0): cannot be read as JSON ({error})") from error
                block = file.read(BLOCK)
                ended = not block
                text += decode(block, ended)
                continue
            place = f"record {number} (from 0)"
            yield (place, value) if isinstance(value, dict) else Broken(place, "not a map", repr(value)[:200])
            text, number = text[end:], number + 1
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def _parquet(path: Path) -> Iterator[Found]:
    import pyarrow
    from pyarrow import parquet

    try:
        number = 0
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=1000):
            for value in batch.to_pylist():
                yield f"row {number} (from 0)", value
                number += 1
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({error})") from error


def _saved(path: Path) -> Iterator[Found]:
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not the folder of a saved data set ({error})") from error
    if isinstance(found, datasets.DatasetDict):
        raise DataError(f"{path}: holds the splits {', '.join(found)}; name the folder of one of them")
    return of_rows(found)


def _hub(name: str) -> Iterator[Found]:
    import datasets

    repository, _, split = name.partition(":")
    repository, _, revision = repository.partition("@")
    try:
        found = datasets.load_dataset(repository, split=split or "train", revision=revision or None, streaming=True)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"hf:{name}: cannot be had ({error}); without a network, save it elsewhere with "
            "`datasets.load_dataset(...).save_to_disk(DIR)` and give the folder"
        ) from error
    return of_rows(found)


def of_rows(rows: Any) -> Iterator[Found]:
    """The rows of a `datasets.Dataset`, or of any iterable of maps."""
    for number, row in enumerate(rows):
        place = f"row {number} (from 0)"
        yield (place, row) if isinstance(row, Mapping) else Broken(place, "not a map", repr(row)[:200])
