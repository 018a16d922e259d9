"""What the words of a command mean: suites, tasks, methods; by name, by `kind:name`, by file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import UsageError, unknown
from .loading.library import SUFFIXES, Entry, Library


def sort_targets(library: Library, words: Sequence[str]) -> dict[str, list[Entry]]:
    """The entries that the words mean, by kind. Raises UsageError, SpecError."""
    found: dict[str, list[Entry]] = {"suite": [], "task": [], "method": []}
    for word in words:
        entry = find(library, word, tuple(found))
        found[entry.kind].append(entry)
    return found


def find(library: Library, word: str, kinds: Sequence[str]) -> Entry:
    """The entry that a word means, of one of `kinds`. Raises UsageError, SpecError."""
    path = Path(word)
    if path.suffix in SUFFIXES:
        known = [e for e in library.entries.values() if e.file.resolve() == path.resolve()]
        entry = known[0] if known else library.add(path)
        if entry.kind not in kinds:
            raise UsageError(f"{word}: is a {entry.kind}; expected a {' or '.join(kinds)}")
        return entry
    kind, _, name = word.rpartition(":")
    if kind in kinds:
        return library.get(kind, name)
    matches = [library.entries[k, word] for k in kinds if (k, word) in library.entries]
    if len(matches) > 1:
        choices = " or ".join(f"{e.kind}:{e.name}" for e in matches)
        raise UsageError(f"{word!r} is the name of several specs; say {choices}")
    if not matches:
        hint = " (it is a folder; name the specs in it with --specs)" if path.is_dir() else ""
        names = [name for kind in kinds for name in library.names(kind)]
        raise UsageError(unknown(" or ".join(kinds), word, names) + hint)
    return matches[0]
