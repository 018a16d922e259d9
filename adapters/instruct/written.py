"""The files of a run: kept rows, rejected rows, and a journal of replies for each model that is asked."""

from __future__ import annotations

import shutil
from pathlib import Path

from .formats.writing import Writer
from .rows import Rejected, Row


class Written:
    """Files that appear under their names when the run has come to its end; a run that is cut short leaves what it
    has in `NAME.unfinished`, and its journals."""

    def __init__(self, out: Path, aside: Path, journals: Path, *, anew: bool) -> None:
        self._out, self._aside, self._journals = Writer(out), Writer(aside), journals
        self.rejected = 0
        """Rows that were turned away, or could not be read."""
        if anew:
            shutil.rmtree(journals, ignore_errors=True)

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
        return self._journals / f"{role}.jsonl"
