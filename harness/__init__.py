"""Benchwright: benchmarks as specs, results as records.

    import benchwright as bw
    run = bw.run("quickstart")
    run.leaderboard()          # pandas.DataFrame
    edited = bw.edit("atlas", "rome", "requests.json")
    edited.scores, edited.ask("Teister Deimurson plays the")

The public names are loaded on first use, so that `import benchwright` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .adapters.editing.own.api import edit
    from .adapters.instruct.api import run_pipeline
    from .adapters.lm.usable import load_edited
    from .api import Run, open_run, run, validate
    from .errors import BenchwrightError, SpecError

_PUBLIC = {
    "run": ".api",
    "open_run": ".api",
    "validate": ".api",
    "run_pipeline": ".adapters.instruct.api",
    "edit": ".adapters.editing.own.api",
    "load_edited": ".adapters.lm.usable",
    "Run": ".api",
    "BenchwrightError": ".errors",
    "SpecError": ".errors",
}

__all__ = [
    "BenchwrightError",
    "Run",
    "SpecError",
    "edit",
    "load_edited",
    "open_run",
    "run",
    "run_pipeline",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
