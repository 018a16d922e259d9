"""Digests of files, remembered by path, size and time, so that planning reads large files once."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .canonical import digest
from .errors import DataError
from .store import write_atomically


def files_below(folder: Path) -> Iterator[Path]:
    """Files below a folder, relative to it; hidden files and folders are left out, links are followed."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        # A link to a folder above would be followed for ever.
        here = os.path.realpath(parent)
        folders[:] = () if here in seen else sorted(name for name in folders if not name.startswith("."))
        if here not in seen:
            yield from (Path(parent).relative_to(folder) / f for f in files if not f.startswith("."))
        seen.add(here)


MANY = 1000
"""Files of a folder whose reading takes so long that it is told."""


@dataclass
class FileDigests:
    """The remembered digests; `save` after use."""

    file: Path
    known: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls, folder: Path) -> FileDigests:
        """From `folder/digests.json`; empty when it is missing or damaged."""
        file = folder / "digests.json"
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
            known = {str(path): (int(size), int(time), str(value)) for path, (size, time, value) in rows.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            known = {}
        return cls(file, known)

    def of(self, path: Path) -> str:
        """Hex SHA-256 of a file's content, or of the names and contents of a folder's files, hidden ones aside.

        Raises DataError when something cannot be read.
        """
        if path.is_dir():
            shown = sorted(files_below(path))
            new = sum(str((path / f).resolve()) not in self.known for f in shown)
            if new >= MANY:
                warnings.warn(f"{path}: reading {new} files, once, to know them by their content", stacklevel=2)
            return digest([[f.as_posix(), self.of(path / f)] for f in shown])
        try:
            stat = path.stat()
            key = str(path.resolve())
            if self.known.get(key, ())[:2] == (stat.st_size, stat.st_mtime_ns):
                return self.known[key][2]
            with path.open("rb") as stream:
                value = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        self.known[key] = (stat.st_size, stat.st_mtime_ns, value)
        self.changed = True
        return value

    def save(self) -> None:
        """Remember; a folder that cannot be written only costs time at the next run."""
        if self.changed:
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.file, json.dumps(self.known, indent=0, sort_keys=True))
            except OSError:
                return
