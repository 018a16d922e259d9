"""Requests that were carried out on one model, and how some of them are taken back.

A request is taken back exactly: the model is as if it had never been made. So what was made before it is found among
the states that are kept, and what was made after it is carried out again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from ....job import Job
from ...lm.edited import carried_out
from ...lm.interventions import Intervention
from ...lm.model import LanguageModel
from ...lm.patch import LowRank, Patch
from ...lm.requests import EditRequest
from ...lm.scoring import Unusable

if TYPE_CHECKING:
    from ...lm.interventions import State

KEPT_BYTES = 2**30
"""Memory for earlier states; beyond it every second one is forgotten."""


class EditSequence:
    """Groups of requests, each carried out together, one group after the other."""

    def __init__(self, lm: LanguageModel, method: Intervention, job: Job, kept_bytes: int = KEPT_BYTES) -> None:
        self.groups: list[tuple[EditRequest, ...]] = []
        self._lm, self._method, self._job, self._budget = lm, method, job, kept_bytes
        self._kept: dict[int, tuple[Patch, State]] = {0: (Patch(), None)}

    @property
    def patch(self) -> Patch:
        """All changes, relative to the untouched model."""
        return self._kept[len(self.groups)][0]

    def extend(
        self, groups: Sequence[Sequence[EditRequest]], unusable: Callable[[Unusable], object] = lambda error: None
    ) -> None:
        """Carry out further groups; `unusable` is told of requests that the method cannot carry out. Raises Skip."""
        for group in groups:
            now = self._kept[len(self.groups)]
            if group:
                for _, patch, state in carried_out(self._lm, self._method, group, len(group), self._job, now, unusable):
                    now = patch, state
            self.groups.append(tuple(group))
            self._kept[len(self.groups)] = now
            self._forget()

    def without(self, ids: Collection[str]) -> None:
        """Take back requests; those that were carried out together stay together."""
        groups = [tuple(r for r in group if r.id not in ids) for group in self.groups]
        same = next((i for i, (a, b) in enumerate(zip(groups, self.groups, strict=True)) if a != b), len(groups))
        start = max(done for done in self._kept if done <= same)
        self._kept = {done: state for done, state in self._kept.items() if done <= start}
        self.groups = groups[:start]
        self.extend(groups[start:])

    def _forget(self) -> None:
        while len(self._kept) > 2 and sum(map(_bytes, self._kept.values())) > self._budget:
            done = sorted(self._kept)
            for number in done[1:-1:2]:
                del self._kept[number]


def _bytes(kept: tuple[Patch, State]) -> int:
    patch, state = kept
    tensors = [t for d in patch.deltas.values() for t in ((d.left, d.right) if isinstance(d, LowRank) else (d,))]
    tensors += [t for insert in patch.inserts.values() for t in insert.tensors().values()]
    tensors += list((state or {}).values())
    return sum(t.numel() * t.element_size() for t in tensors)
