"""What the untouched model says, to compare with what an edited one does: an artifact, shared by all methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...job import Job
from ..lm.model import LanguageModel


def untouched(lm: LanguageModel, job: Job, kind: str, key: Mapping[str, Any], build: Callable[[], Any]) -> Any:
    """What `build` gives; `key`: what it depends on beside the model. Raises RuntimeError on a patched model."""
    if lm.patched:
        raise RuntimeError("the reference is the untouched model's, and a patch is applied")
    return job.artifacts.get(kind, {"model": job.fingerprints["subject"], **key}, build)
