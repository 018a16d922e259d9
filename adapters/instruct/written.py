"""The files of a run: kept rows, rejected rows, and a journal of replies for each model that is asked."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...canonical import canonical
from ...errors import UsageError
from ...store import write_atomically
from .formats.writing import Writer
from .rows import Rejected, Row

RUN = "run.json"
"""Beside the journals: what the run is."""


class Written:
    """Files that appear under their names when the run has come to its end; a run that is cut short leaves what it
    has in `NAME.unfinished`, and its journals."""

    def __init__(
        self, out: Path, aside: Path, journals: Path, same: Mapping[str, Any], *, anew: bool, resume: bool
    ) -> None:
        """`same`: what a run must have in common with the one that it goes on with. Raises UsageError where it has
        not."""
        self._out, self._aside, self._journals, self._same = Writer(out), Writer(aside), journals, canonical(same)
        self.rejected = 0
        """Rows that were turned away, or could not be read."""
        if anew:
            shutil.rmtree(journals, ignore_errors=True)
        known = journals / RUN
        if resume and out.exists() and not known.is_file():
            raise UsageError(f"--resume: {out} is finished, and no model was asked for it; --force writes it anew")
        if resume and known.is_file() and known.read_text(encoding="utf-8") != self._same:
            raise UsageError(
                f"--resume: {journals} belongs to a run of another pipeline, file, format, seed or limit; run that "
                "one, choose another --out, or --force"
            )

    def __enter__(self) -> Written:
        self._out.__enter__()
        self._aside.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._out.__exit__(kind, *rest)
        self._aside.__exit__(kind, *rest)

    def keep(self, format: str, row: Row) -> None:
        """Write a row that came through."""
        self._out.add(row, format)

    def turn_away(self, format: str, rejected: Rejected) -> None:
        """Write a row that did not."""
        self.rejected += 1
        self._aside.add(rejected, format)

    def journal(self, role: str) -> Path:
        """Where the replies of the model of a role are kept."""
        self._journals.mkdir(exist_ok=True)
        write_atomically(self._journals / RUN, self._same)
        return self._journals / f"{role}.jsonl"
