"""The command line. Each command is a thin layer over the Python API; nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any

from ..errors import BenchwrightError, SpecError


def main() -> None:
    """Entry point: run the command, turn errors into one clear message and an exit code."""
    from .app import app

    # A termination signal ends a run like Ctrl-C does: workers are stopped, finished parts are kept.
    signal.signal(signal.SIGTERM, _interrupt)
    warnings.showwarning = _show_warning
    try:
        # Outside of its standalone mode, what a command exits with is returned.
        sys.exit(app(standalone_mode=False))
    except BenchwrightError as error:
        # The problems of specs stand alone, so that editors find the places in them.
        print(error if isinstance(error, SpecError) else f"benchwright: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("benchwright: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader (`| head`) has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if not _is_usage_error(error):
            raise
        error.show()  # type: ignore[attr-defined]
        sys.exit(2)


def _is_usage_error(error: Exception) -> bool:
    """Click's own complaint about the words of a command (typer may carry its own copy of click)."""
    return hasattr(error, "show") and hasattr(error, "exit_code")


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"benchwright: warning: {message}", file=sys.stderr)
