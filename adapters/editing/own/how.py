"""How requests of a user's own can be carried out. Nothing heavy is imported here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ....errors import UsageError, unknown

MODES = ("single", "batch", "sequential")
CONFLICTS = ("error", "drop", "last")


@dataclass(frozen=True)
class How:
    """What a person says beside model, method and requests."""

    mode: str = "single"
    """`single`: each alone; `batch`: all together; `sequential`: `batch_size` after the other on one model."""
    batch_size: int = 1
    conflicts: str = "error"
    """Of requests on one fact: `error`, `drop` keeps the first, `last` the last."""
    train: Path | None = None
    """Requests that a method which learns before it edits learns from."""
    say: Callable[[str], object] = lambda text: None
    """Told what is being done."""

    def check(self, before: str = "") -> None:
        """Raises UsageError for what means nothing; `before`: what stands before the names of options."""
        for name, value, known in (("mode", self.mode, MODES), ("conflicts", self.conflicts, CONFLICTS)):
            if value not in known:
                raise UsageError(unknown(before + name, str(value), known))
        size = f"{before}batch-size" if before else "batch_size"
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise UsageError(f"{size}: got {self.batch_size!r}; expected a whole number of at least 1")
        if self.batch_size != 1 and self.mode != "sequential":
            raise UsageError(f"{size} belongs to {before}mode sequential; `batch` carries out all requests together")
        if self.train is not None:
            check_file(self.train, f"{before}train")


def check_file(file: Path, option: str) -> None:
    """Raises UsageError for a file that is not there."""
    if not file.is_file():
        raise UsageError(f"{option} {file}: {'is a folder; name a file in it' if file.is_dir() else 'no such file'}")


def check_new_folder(folder: Path, option: str = "") -> None:
    """Say before the work that a folder cannot be written: it is taken, or its place is. Raises UsageError."""
    name = f"{option} {folder}".lstrip()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{name}: exists and is not an empty folder; choose another one")
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UsageError(f"{name}: cannot be written, {place} is {'read-only' if place.is_dir() else 'no folder'}")
