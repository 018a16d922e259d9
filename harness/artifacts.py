"""Things that are expensive to make and shared between cells: covariances, pre-edit predictions, trained parts.

Content-addressed by everything that they depend on, the state of the weights included; written aside and renamed, so
that two processes may make the same one; arrays as npz (never pickled), everything else as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from .canonical import digest

MAX_BYTES = 20 * 2**30
MAX_AGE_S = 90 * 86400.0


def cache_home() -> Path:
    """`$BENCHWRIGHT_CACHE`, or `benchwright` below `$XDG_CACHE_HOME` or `~/.cache`."""
    if named := os.environ.get("BENCHWRIGHT_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "benchwright"


def artifact_root() -> Path:
    """Where the artifacts of this user are."""
    return cache_home() / "artifacts"


@dataclass(frozen=True)
class ArtifactStore:
    """A folder of artifacts."""

    root: Path

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[], Any]) -> Any:
        """The artifact of this kind and key, built on the first call.

        `key` holds all that it depends on: for anything computed with a model, the model's fingerprint from
        `Job.fingerprints`, the digests of edits applied to it, the data, the parameters, the producer's version.
        `build` returns a mapping of names to arrays (stored as npz) or JSON data. A damaged artifact is built again.
        """
        folder = self.root / kind / _name(kind, key)
        stored = _read(folder)
        if stored is not None:
            with suppress(OSError):  # another process may be replacing it
                os.utime(folder)
            return stored["value"]
        built = build()
        try:
            self._write(folder, key, built)
            shutil.rmtree(self._unfinished(kind, key), ignore_errors=True)
        except OSError as error:
            # Storing saves time at the next call; this one has what it asked for.
            warnings.warn(f"artifact {kind} cannot be kept in {self.root} ({error.strerror})", stacklevel=2)
        # What was just built and what a later call reads must be the same, so both come from the disk.
        stored = _read(folder)
        return built if stored is None else stored["value"]

    def scratch(self, kind: str, key: Mapping[str, Any]) -> Path:
        """A folder for what is needed to go on making an artifact after a kill; removed when `get` has stored it.

        Raises OSError when it cannot be made.
        """
        folder = self._unfinished(kind, key)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _unfinished(self, kind: str, key: Mapping[str, Any]) -> Path:
        return self.root / f"{kind}.unfinished" / _name(kind, key)

    def _write(self, folder: Path, key: Mapping[str, Any], payload: Any) -> None:
        aside = folder.with_name(f".{folder.name}.{uuid4().hex}")
        aside.mkdir(parents=True)
        arrays = isinstance(payload, dict) and payload and all(isinstance(v, np.ndarray) for v in payload.values())
        file = aside / ("value.npz" if arrays else "value.json")
        if arrays:
            np.savez(file, **payload)
        else:
            file.write_text(json.dumps(payload), encoding="utf-8")
        meta = {"key": dict(key), "file": file.name, "digest": digest(file.read_bytes())}
        (aside / "artifact.json").write_text(json.dumps(meta, indent=1, sort_keys=True), encoding="utf-8")
        if _read(folder) is None:  # damaged; a whole one is what another process has just made
            shutil.rmtree(folder, ignore_errors=True)
        try:
            aside.replace(folder)
        except OSError:  # another process put the same artifact there first
            shutil.rmtree(aside, ignore_errors=True)

    def size(self) -> int:
        """Bytes used."""
        return sum(_size(f) for f in self.root.rglob("*"))

    def prune(self, max_bytes: int = MAX_BYTES, max_age_s: float = MAX_AGE_S) -> int:
        """Delete what was not used for `max_age_s`, then the least used beyond `max_bytes`; returns the count."""
        folders = sorted((f.stat().st_mtime, f) for f in self.root.glob("*/*") if f.is_dir())
        used, oldest, removed = self.size(), time.time() - max_age_s, 0
        for used_at, folder in folders:
            if used_at >= oldest and used <= max_bytes:
                break
            used -= sum(_size(f) for f in folder.rglob("*"))
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        return removed


def _name(kind: str, key: Mapping[str, Any]) -> str:
    return digest({"kind": kind, **key})


def _size(file: Path) -> int:
    """Bytes of a file; 0 of a folder, or of what another process has just removed."""
    try:
        return file.stat().st_size if file.is_file() else 0
    except FileNotFoundError:
        return 0


def _read(folder: Path) -> dict[str, Any] | None:
    """`{"value": …}`, or None when there is no such artifact or it is damaged."""
    try:
        meta = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
        file = folder / meta["file"]
        if digest(file.read_bytes()) != meta["digest"]:
            return None
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                return {"value": {name: arrays[name] for name in arrays.files}}
        return {"value": json.loads(file.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError):
        return None
