"""What a stream of edits continues from, as plain arrays: the patch so far, and the memory of the method."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .patch import Patch

if TYPE_CHECKING:
    from ...job import Job
    from .interventions import State
    from .streams import Stream

_DESCRIPTION, _STATE = "patch", "state:"
"""Names of a patch's texts and of a method's memory among the arrays."""


def unfinished(stream: Stream[Any], job: Job) -> tuple[list[tuple[int, str]], int, tuple[Patch, State]]:
    """Checkpoints of a stream that are still to do, each with the name of its part; how many requests are done; and
    the patch and memory to go on with."""
    parts = {t: f"{stream.name}-{t:06d}" for t in stream.checkpoints}
    todo = [(t, name) for t, name in parts.items() if not job.has(name)]
    if not todo or len(todo) == len(parts):
        return todo, 0, (Patch(), None)
    done = max(parts.keys() - dict(todo).keys())
    return todo, done, restored(job.finished[parts[done]])


def kept(patch: Patch, state: State) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint."""
    arrays = {name: tensor.numpy() for name, tensor in patch.tensors().items()}
    memory = {f"{_STATE}{name}": tensor.cpu().numpy() for name, tensor in (state or {}).items()}
    text = json.dumps([patch.description(), state is not None])
    return {**arrays, **memory, _DESCRIPTION: np.frombuffer(text.encode(), dtype=np.uint8)}


def restored(arrays: Mapping[str, np.ndarray] | None) -> tuple[Patch, State]:
    """What `kept` was given."""
    assert arrays is not None, "every checkpoint keeps its state"
    found = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items() if name != _DESCRIPTION}
    description, has_state = json.loads(arrays[_DESCRIPTION].tobytes())
    state = {n.removeprefix(_STATE): t for n, t in found.items() if n.startswith(_STATE)}
    patch = Patch.of({n: t for n, t in found.items() if not n.startswith(_STATE)}, description)
    return patch, state if has_state else None
