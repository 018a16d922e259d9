"""Errors that a user can act on. Each is one clear message; the command line prints it and exits with `exit_code`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class BenchwrightError(Exception):
    """A mistake or a condition outside the program, told in full by its message."""

    exit_code = 2


class UsageError(BenchwrightError):
    """The command, or the combination of specs that it names, makes no sense."""


class DataError(BenchwrightError):
    """A data file is missing, unreadable, or has a record that breaks its format."""


class ModelError(BenchwrightError):
    """A model cannot be opened: missing, unsafe, or of an unknown architecture."""


class RunError(BenchwrightError):
    """A run folder cannot be used: locked, read-only, full, or of another format."""


class Interrupted(BenchwrightError):
    """Ctrl-C or a termination signal; what is finished is kept."""

    exit_code = 130


class Skip(BenchwrightError):
    """Raised by an adapter when a method does not apply to this model; the cell is recorded as `skipped`."""


@dataclass(frozen=True, order=True)
class Mark:
    """A place in a file; line and column count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with a spec: `FILE:LINE:COL: FIELD: what is wrong; what is expected; did you mean …`."""

    mark: Mark
    field: str
    wrong: str
    expected: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        parts = [self.wrong]
        if self.expected:
            parts.append(self.expected)
        if self.suggestion:
            parts.append(f"did you mean {self.suggestion!r}?")
        where = f"{self.mark}: {self.field}: " if self.field else f"{self.mark}: "
        return where + "; ".join(parts)


class SpecError(BenchwrightError):
    """Every problem found in the specs that were read, in the order of their places."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = sorted(set(problems))
        super().__init__("\n".join(map(str, self.problems)))


def closest(name: object, known: Iterable[str]) -> str:
    """The known name most like `name`, or an empty string.

    >>> closest("learnig_rate", ["learning_rate", "steps"])
    'learning_rate'
    """
    return next(iter(get_close_matches(str(name), list(known), n=1, cutoff=0.6)), "")


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """`unknown method 'rom'; did you mean 'rome'?`, or the list of what is known when nothing is close."""
    known = sorted(known)
    near = closest(name, known)
    hint = f"did you mean {near!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return f"unknown {what} {name!r}; {hint}"
