"""From requests to a patch: states at the last listed block, then a change of each listed layer in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...architecture import block, linear
from ...forward import Tokens, recorded
from ...model import LanguageModel
from ...patch import Patch
from ...requests import EditRequest
from ...scoring import Row
from ...statistics import read_texts
from ..locate_then_edit import prepared
from ..locate_then_edit.contexts import own_texts
from ..locate_then_edit.keys import Reading
from ..locate_then_edit.params import KEYS
from ..locate_then_edit.solve import with_keys
from ..locate_then_edit.spread import as_stored
from .chunks import perturbations, row_of, windows
from .training import trained

if TYPE_CHECKING:
    from .....job import Job
    from .. import State
    from ..locate_then_edit.solve import Inverse
    from .params import LongForm, Others, TrainBlock

OTHERS_VERSION = 1
"""Raised when the same arguments give other texts; part of the key of the artifact."""


@dataclass(frozen=True)
class Grounds:
    """What a method knows of the untouched model."""

    others: Sequence[Tokens] = ()
    """Texts from which those are drawn at which a trained block shall stay as it is."""
    inverses: Mapping[int, Inverse] = field(default_factory=dict)
    """By layer."""


def grounds(method: LongForm, lm: LanguageModel, job: Job) -> Grounds:
    """Raises RuntimeError when something has to be computed while a patch is applied."""
    if method.solve.type == "train_block":
        return Grounds(others=_texts(method.solve.others, lm, job))
    return Grounds(inverses=prepared.grounds(method.inner(), lm, job).inverses)


def _texts(others: Others, lm: LanguageModel, job: Job) -> list[Tokens]:
    longest = min(others.tokens, lm.context)
    if others.text:
        found = read_texts(lm, job.files["algorithm"]["solve.others.text"], others.pool, longest)
        return [text for text in found if text]
    key = {
        "model": job.fingerprints["subject"],
        "seed": job.seed,
        "pool": others.pool,
        "tokens": longest,
        "version": OTHERS_VERSION,
    }

    def build() -> list[list[int]]:
        if lm.patched:
            raise RuntimeError("texts are sampled from the untouched model; call `prepare` before patching it")
        draws = job.rng("long-form-others").random((others.pool, longest - 1))
        return [list(text) for text in own_texts(lm, draws)]

    found = job.artifacts.get("long-form-others", key, build)
    return [tuple(text) for text in found]


def written(
    method: LongForm, lm: LanguageModel, requests: Sequence[EditRequest], known: Grounds, state: State, job: Job
) -> tuple[Patch, State]:
    """See `LongForm`. The state holds keys of earlier requests by layer, where the solver remembers them."""
    rows = [row_of(lm, request, method.value) for request in requests]
    last, patch = method.layers[-1], Patch()
    deltas = perturbations(lm, rows, method.value, last, method.batch_size)
    states = _States(lm, rows, deltas, method)
    drawn = job.rng("long-form-drawn", " ".join(r.id for r in requests))
    for number, layer in enumerate(method.layers):
        with patch.applied(lm):
            missing = [m / (len(method.layers) - number) for m in states.missing()]
            if method.solve.type == "train_block":
                others = _drawn(method.solve, known.others, drawn)
                found = trained(method.solve, lm, states.rows, missing, others, layer, method.batch_size)
            else:
                projection = linear(lm.model, layer, "mlp_down")
                keys = states.read(projection.name, outputs=False)
                residuals = torch.cat(missing)
                # Everywhere else nothing is missing: those keys keep their values.
                reading = Reading(torch.cat(keys)[:, None], torch.zeros_like(residuals)[:, None], (1,))
                inverse, earlier = known.inverses[layer], (state or {}).get(f"{KEYS}{layer}")
                inverse = inverse if earlier is None else with_keys(inverse, earlier)
                left, right = method.solve.change(reading, residuals, inverse, drawn)
                found = Patch({projection.weight_name: as_stored(projection, (left, right))})
        patch = patch.then(found)
    if method.solve.type != "train_block" and method.solve.remember:
        with patch.applied(lm):
            state = {**(state or {}), **states.remembered(method.layers, state)}
    return patch, state


def _drawn(solve: TrainBlock, texts: Sequence[Tokens], rng: np.random.Generator) -> list[Tokens]:
    count = min(solve.others.count, len(texts))
    return [texts[i] for i in rng.choice(len(texts), count, replace=False)] if count else []


class _States:
    """Rows whose outputs at the last listed block shall come to be others."""

    def __init__(
        self, lm: LanguageModel, rows: Sequence[Row], deltas: Sequence[torch.Tensor], method: LongForm
    ) -> None:
        self._lm, self._size = lm, method.batch_size
        self._name = block(lm.model, method.layers[-1])[0]
        whole = method.value.window is not None
        # A single state stands at the end of the prompt; those of windows stand in the target, which is read, too.
        self.rows: list[Tokens] = [row.ids if whole else row.prompt for row in rows]
        self._places = [[w.place for w in windows(row, method.value.window, method.value.overlap)] for row in rows]
        now = self.read(self._name, outputs=True)
        self._wanted = [h[p] + d.to(h) for h, p, d in zip(now, self._places, deltas, strict=True)]

    def read(self, name: str, *, outputs: bool) -> list[torch.Tensor]:
        """Inputs or outputs of a module as the model is now, of each row (tokens, width), float32."""
        found: list[torch.Tensor] = []
        for start in range(0, len(self.rows), self._size):
            some = self.rows[start : start + self._size]
            read = recorded(self._lm, some, [name])[name][outputs]
            found += [read[i, : len(row)].float() for i, row in enumerate(some)]
        return found

    def remembered(self, layers: Sequence[int], state: State) -> dict[str, torch.Tensor]:
        """Keys of the states, as the model has them now, behind those of earlier requests; names as in the state."""
        found = {}
        for layer in layers:
            keys = self.read(linear(self._lm.model, layer, "mlp_down").name, outputs=False)
            own = torch.cat([k[p] for k, p in zip(keys, self._places, strict=True)]).cpu()
            earlier = (state or {}).get(f"{KEYS}{layer}")
            found[f"{KEYS}{layer}"] = own if earlier is None else torch.cat([earlier, own])
        return found

    def missing(self) -> list[torch.Tensor]:
        """What is missing to the wanted outputs, of each row (tokens, width): zero where none is wanted."""
        found = []
        for now, places, wanted in zip(self.read(self._name, outputs=True), self._places, self._wanted, strict=True):
            lacking = torch.zeros_like(now)
            lacking[places] = wanted - now[places]
            found.append(lacking)
        return found
