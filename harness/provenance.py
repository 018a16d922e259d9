"""Where a result comes from: versions, commit, platform. Recorded beside it, never part of its identity."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__

PACKAGES = (
    "numpy",
    "pydantic",
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "timm",
    "scikit-learn",
    "opencv-python-headless",
    "pillow",
    "lm-eval",
    "evaluate",
)


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@cache
def environment() -> dict[str, Any]:
    """Versions and platform of this process; no host name and no paths."""
    return {
        "benchwright": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "packages": {name: version for name in PACKAGES if (version := package_version(name))},
    }


@cache
def package_version(name: str) -> str:
    """Version of an installed distribution, or an empty string. Imports nothing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def cpu_name() -> str:
    """The processor as the system names it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str:
    """Commit of the checkout that this package is imported from (`+` when it has changes); empty when installed."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return ""
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
