"""Names of lm-eval's own tasks, and what to say of one that is none."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...errors import DataError, closest, unknown

_NAMED = re.compile(r"""^\s*-?\s*(?:task|group|tag)\s*:\s*["']?([^\s"'\[{#]+)""", re.MULTILINE)


@cache
def shipped() -> Mapping[str, Any]:
    """lm-eval's own entries by name; to read its 14,000 task files as YAML takes seconds."""
    from lm_eval.tasks import TaskManager

    index: Mapping[str, Any] = TaskManager().task_index
    return index


def check_names(names: Iterable[str], mine: Collection[str], folder: Path | None) -> None:
    """Raises DataError for a name that stands in no task file of lm-eval's, in the tenth of the time that `shipped`
    takes. `mine`: the names in `folder`."""
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in _folder().rglob("*.yaml")]
    for name in names:
        if not any(name in text for text in texts):
            raise not_known(name, {found for text in texts for found in _NAMED.findall(text)}, mine, folder)


def not_known(name: str, every: Iterable[str], mine: Collection[str], folder: Path | None) -> DataError:
    """The error for a name that is neither among `every` nor `mine`."""
    every = {*every, *mine}
    if closest(name, every):
        return DataError(unknown("lm-eval task", name, every))
    own = f", and those of {folder}: {', '.join(sorted(mine)) or 'none'}" if folder else ""
    return DataError(f"unknown lm-eval task {name!r}; known: what `lm_eval ls tasks` prints{own}")


def _folder() -> Path:
    spec = find_spec("lm_eval")
    assert spec is not None
    return Path(next(iter(spec.submodule_search_locations or ()))) / "tasks"
