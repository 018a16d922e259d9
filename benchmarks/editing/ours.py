"""This project's side of `peer.py`: the whole protocol by its own parts, nothing kept between repeats."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from setting import BATCH, GRACE, ROME_LAYER, VALUE, WEIGHT, WISE
from toy import CONTEXTS

from benchwright.adapters.editing.cases import EditCase
from benchwright.adapters.editing.controls import Controls
from benchwright.adapters.editing.params import Edit
from benchwright.adapters.editing.probes import references
from benchwright.adapters.editing.scoring import Edits, scored
from benchwright.adapters.lm.edited import carried_out
from benchwright.adapters.lm.interventions import Intervention
from benchwright.adapters.lm.interventions.locate_then_edit.params import LocateThenEdit
from benchwright.adapters.lm.interventions.memory.params import Grace, Wise
from benchwright.adapters.lm.interventions.memory.texts import Texts
from benchwright.adapters.lm.model import LanguageModel
from benchwright.adapters.lm.patch import Patch
from benchwright.artifacts import ArtifactStore
from benchwright.job import Job

PROTOCOL = Edit(type="edit")


def methods() -> dict[str, Intervention]:
    """The four methods, with what `setting.py` says."""
    value: dict[str, Any] = VALUE | {"context_templates": CONTEXTS}
    covariance = {"file": "moments.safetensors"}
    batch = {"type": "least_squares", "covariance": covariance, "covariance_weight": WEIGHT}
    specs: tuple[type[Intervention], ...] = (LocateThenEdit, LocateThenEdit, Grace, Wise)
    alpha, beta, gamma = WISE["margins"]
    said: tuple[dict[str, Any], ...] = (
        {"site": {"layers": [ROME_LAYER]}, "value": value, "solve": {"type": "rank_one", "covariance": covariance}},
        {"site": {"layers": BATCH}, "value": value | {"at": "block"}, "solve": batch},
        {
            "site": {"layer": GRACE["layer"], "module": "mlp_up"},
            **{k: GRACE[k] for k in ("lr", "steps", "epsilon", "stop_loss")},
        },
        {
            **{k: v for k, v in WISE.items() if k not in ("layer", "margins")},
            **{"site": {"layer": WISE["layer"]}, "keep": "merge", "distance": "activated"},
            "margins": {"alpha": alpha, "beta": beta, "gamma": gamma},
        },
    )
    types = ("locate_then_edit", "locate_then_edit", "grace", "wise")
    names = ("rome", "memit", "grace", "wise")
    return {
        name: spec.model_validate({"type": kind, **fields}, strict=False)
        for name, spec, kind, fields in zip(names, specs, types, said, strict=True)
    }


class Ours:
    """The four methods as this project carries them out and scores them."""

    def __init__(self, lm: LanguageModel, moments: Path) -> None:
        self._lm, self._moments, self._methods = lm, moments, methods()

    def job(self) -> Job:
        """A cell without artifacts: what is kept between cells would be no cost of the next repeat."""
        files = {"algorithm": {"solve.covariance.file": self._moments}}
        store = ArtifactStore(Path(mkdtemp()))
        none: Any = None
        return Job(none, none, 0, None, {"subject": self._lm}, {"subject": "toy"}, files, store)

    def ready(self, method: str, cases: Sequence[EditCase]) -> Callable[[], float]:
        """The whole protocol as a function, covariances factorised; it returns CPU seconds of editing alone."""
        job, algorithm = self.job(), self._methods[method]
        if isinstance(algorithm, Wise):
            algorithm._known = {f"toy {job.seed}": Texts(CONTEXTS, ())}
        algorithm.prepare(self._lm, job)
        return lambda: (
            self._single(algorithm, cases, job) if method == "rome" else self._together(algorithm, cases, job)
        )

    def edited(self, method: str, cases: Sequence[EditCase], at_once: int = 1) -> Patch:
        """The patch of all requests, without scoring."""
        algorithm, job, last = self._methods[method], self.job(), Patch()
        for _, patch, _ in carried_out(self._lm, algorithm, [c.request for c in cases], at_once, job):
            last = patch
        return last

    def _single(self, algorithm: Intervention, cases: Sequence[EditCase], job: Job) -> float:
        """Each request alone, in the portions in which a run works."""
        spent = 0.0
        for start in range(0, len(cases), PROTOCOL.chunk):
            some = cases[start : start + PROTOCOL.chunk]
            known = references(self._lm, some, PROTOCOL.forward_batch, job)
            self._score([([c], [r], Patch()) for c, r in zip(some, known, strict=True)], job)
            begun = time.process_time()
            patches = algorithm.apply_each(self._lm, [c.request for c in some], job)
            spent += time.process_time() - begun
            made = [p for p in patches if isinstance(p, Patch)]
            self._score([([c], [r], p) for c, r, p in zip(some, known, made, strict=True)], job)
        return spent

    def _together(self, algorithm: Intervention, cases: Sequence[EditCase], job: Job) -> float:
        """All requests in one model: MEMIT's at once, those of memories one after the other."""
        known = references(self._lm, cases, PROTOCOL.forward_batch, job)
        self._score([(cases, known, Patch())], job)
        at_once = len(cases) if isinstance(algorithm, LocateThenEdit) else 1
        begun, last = time.process_time(), Patch()
        for _, patch, _ in carried_out(self._lm, algorithm, [c.request for c in cases], at_once, job):
            last = patch
        spent = time.process_time() - begun
        self._score([(cases, known, last)], job)
        return spent

    def _score(self, edits: Edits, job: Job) -> None:
        for _ in scored(self._lm, edits, PROTOCOL, Controls(()), job):
            pass
