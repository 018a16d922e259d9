"""Benchwright: benchmarks as specs, results as records.

    import benchwright as bw
    run = bw.run("quickstart")
    run.leaderboard()          # pandas.DataFrame

The public names are loaded on first use, so that `import benchwright` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .adapters.instruct.api import run_pipeline
    from .api import Run, open_run, run, validate
    from .errors import BenchwrightError, SpecError

_PUBLIC = {
    "run": ".api",
    "open_run": ".api",
    "validate": ".api",
    "run_pipeline": ".adapters.instruct.api",
    "Run": ".api",
    "BenchwrightError": ".errors",
    "SpecError": ".errors",
}

__all__ = ["BenchwrightError", "Run", "SpecError", "open_run", "run", "run_pipeline", "validate"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
