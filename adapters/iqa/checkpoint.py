"""What a method has learned, as a folder: safetensors beside the spec that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...canonical import canonical, digest
from ...errors import DataError, RunError
from ...registry import registry
from .learning import Learner

FORMAT = 1
ARRAYS, ABOUT = "learned.safetensors", "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A trained method."""

    name: str
    spec: Mapping[str, Any]
    """The method's spec, resolved."""
    classes: tuple[str, ...]
    """Empty for scores."""
    task: str
    """Whose training images it learned from."""
    seed: int
    learned: Mapping[str, np.ndarray]
    cost: Mapping[str, float]
    problems: tuple[str, ...] = ()
    """Training images that were left out."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Files that its spec names; not kept, so empty for one that was loaded."""

    @property
    def learner(self) -> Learner:
        """The method itself."""
        found = registry().adapters["method"].validate_json(json.dumps(self.spec)).algorithm
        assert isinstance(found, Learner)
        return found

    def save(self, folder: Path) -> None:
        """Write the folder. Raises RunError when the disk refuses."""
        from safetensors.numpy import save

        about = {
            "format": FORMAT,
            "kind": "iqa-checkpoint",
            "method": self.spec,
            "classes": list(self.classes),
            "task": self.task,
            "seed": self.seed,
            "cost": dict(self.cost),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Not `ascontiguousarray`, which makes a vector of a number.
            arrays = {name: np.asarray(a, order="C") for name, a in self.learned.items()}
            # The weights name their spec, so that the two cannot be mixed up.
            (folder / ARRAYS).write_bytes(save(arrays, metadata={"made_by": _made_by(about)}))
            (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise RunError(f"{folder}: the checkpoint cannot be written ({error.strerror})") from error

    @classmethod
    def load(cls, folder: Path) -> Checkpoint:
        """Read a folder that `save` wrote. Raises DataError when it is something else, or damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            if about["kind"] != "iqa-checkpoint" or about["format"] > FORMAT:
                raise DataError(
                    f"{folder / ABOUT}: is a {about['kind']} of format {about['format']}; expected an "
                    f"iqa-checkpoint of format {FORMAT} at most"
                )
            with safe_open(folder / ARRAYS, "numpy") as file:
                made_by = (file.metadata() or {}).get("made_by")
                learned = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            spec = registry().adapters["method"].validate_json(json.dumps(about["method"]))
            found = cls(
                spec.name,
                about["method"],
                tuple(about["classes"]),
                about["task"],
                about["seed"],
                learned,
                about["cost"],
            )
            meant = _made_by(about)
        except FileNotFoundError as error:
            missing = ABOUT if not (folder / ABOUT).exists() else ARRAYS
            raise DataError(f"{folder}: is no checkpoint, it has no {missing}") from error
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise DataError(f"{folder}: the checkpoint is damaged ({error})") from error
        if made_by != meant:
            raise DataError(
                f"{folder}: {ARRAYS} was made by another spec than the one in {ABOUT}; train it anew with iqa train"
            )
        if not isinstance(spec.algorithm, Learner):
            raise DataError(f"{folder / ABOUT}: a {spec.algorithm.type} method learns nothing")
        return found


def _made_by(about: Mapping[str, Any]) -> str:
    """Digest of all that says what the arrays mean."""
    return digest(canonical([about["method"], about["classes"], about["seed"]]))
