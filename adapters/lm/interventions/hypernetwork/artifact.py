"""A trained network as an artifact: made once for a model, a training split, a method and a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from .....canonical import digest
from .....errors import Skip
from .....job import Job
from ...model import LanguageModel
from .network import Hypernetwork
from .training import Example, examples

if TYPE_CHECKING:
    from .params import Learned

LOSSES = "losses"
"""Name in the artifact of what training told."""


def trained(
    spec: Learned,
    lm: LanguageModel,
    job: Job,
    build: Callable[[str], Hypernetwork],
    learn: Callable[[Sequence[Example], Hypernetwork, np.random.Generator], np.ndarray],
) -> dict[str, torch.Tensor]:
    """The tensors of the trained network. Raises Skip.

    `build` makes the untrained one, and is given the name that its random draws begin with; `learn` moves its tensors
    and returns the losses of its steps.
    """
    if not job.training:
        raise Skip(f"{spec.title} learns from a training split, and the task offers none")
    used = [[r.prompt, r.subject, r.target_new, [list(pair) for pair in r.keep]] for r in job.training]
    key = {
        "model": job.fingerprints["subject"],
        "seed": job.seed,
        "data": digest(used),
        "method": spec.model_dump(mode="json", exclude={"batch_size"}),
        "version": spec.version,
    }

    def make() -> dict[str, object]:
        if lm.patched:
            who = f"{spec.title}'s network"
            raise RuntimeError(f"{who} learns to edit the untouched model; call `prepare` before patching it")
        found = examples(lm, job.training)
        if not found:
            raise Skip(f"none of the {len(job.training)} training requests can be asked of this model")
        made = build(spec.type)
        losses = learn(found, made, job.rng(f"{spec.type}-training"))
        return {**made.arrays(), LOSSES: losses}

    stored = dict(job.artifacts.get(spec.type, key, make))
    del stored[LOSSES]
    return {name: torch.from_numpy(array).to(lm.device) for name, array in stored.items()}
