"""What this installation can do: versions, devices, caches, plug-ins, and what to do about what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from .artifacts import ArtifactStore, artifact_root, cache_home
from .provenance import PACKAGES, environment, package_version
from .registry import ENTRY_POINTS, registry

_PROBE = """
import torch
print("cuda", ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "none")
print("mps", "yes" if torch.backends.mps.is_available() else "none")
"""
_TIMM = "import timm; print('timm', 'usable')"


def examine() -> dict[str, dict[str, str]]:
    """Findings by section. Heavy libraries are tried in a process of their own, so that a broken one is a finding."""
    here = environment()
    return {
        "benchwright": {k: str(here[k]) for k in ("benchwright", "commit", "python", "platform", "cpu") if here[k]},
        "packages": {name: package_version(name) or f"missing: pip install {name}" for name in PACKAGES},
        "devices": {"cpu": f"{os.cpu_count()} cores", **_probe(_PROBE, "torch")},
        "vision": _probe(_TIMM, "timm"),
        "caches": _caches(),
        "plug-ins": _plugins(),
    }


def _probe(code: str, name: str) -> dict[str, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {
            name: f"cannot be imported ({reason}); install matching versions: pip install -U torch torchvision {name}"
        }
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def _caches() -> dict[str, str]:
    home = cache_home()
    writable = os.access(home if home.exists() else _existing(home), os.W_OK)
    note = "" if writable else " (not writable: set BENCHWRIGHT_CACHE to a folder that is)"
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub"
    models = sorted(p.name.removeprefix("models--").replace("--", "/") for p in hub.glob("models--*"))
    return {
        "artifacts": f"{home}{note}, {ArtifactStore(artifact_root()).size() / 2**20:.1f} MB",
        "hub models": ", ".join(models) or f"none in {hub}; without the hub, give folders with --model DIR",
    }


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _plugins() -> dict[str, str]:
    broken = registry().broken
    found = {e.dist.name if e.dist else e.value: "ok" for e in metadata.entry_points(group=ENTRY_POINTS)}
    return {**found, **{name: f"broken: {why}" for name, why in broken.items()}} or {"none": "installed"}
