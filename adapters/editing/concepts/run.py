"""The track of concepts: that of single facts, and whether an instance still belongs to its concept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from ....job import Job, Part
from ...lm.patch import Patch
from ...lm.scoring import Unusable, forced
from .. import session
from ..cases import EditCase
from ..run import Facts
from ..told import told
from .cases import ConceptCase
from .params import Concepts

ANSWERS = ("Yes", "No")


class Definitions(Facts):
    """See `session.Track`."""

    def __init__(self, protocol: Concepts, job: Job) -> None:
        super().__init__(protocol, job)
        self.demonstration = protocol.demonstration

    def score(
        self, part: Part, models: Sequence[tuple[Sequence[EditCase], Patch]], suffix: str = "", **at: Any
    ) -> None:
        super().score(part, models, suffix, **at)
        for cases, patch in models:
            concepts = [cast(ConceptCase, case) for case in cases]
            before = self._belongs(concepts, Patch())
            with patch.applied(self.lm):
                after = self._belongs(concepts, patch)
            for case, was, now in zip(concepts, before, after, strict=True):
                if isinstance(was, str) or isinstance(now, str):
                    part.skip(f"instance_change: {was if isinstance(was, str) else now}")
                else:
                    part.record(case.id + suffix, "instance_change", float(was) - float(now), **at)

    def _belongs(self, cases: Sequence[ConceptCase], patch: Patch) -> list[bool | str]:
        """Whether the model, as it is now, says of each instance that it belongs; or why it cannot be asked."""
        found: list[bool | str] = []
        for case in cases:
            try:
                rows = told(self.lm, patch, case.instance, ANSWERS, before=self.demonstration)
            except Unusable as error:
                found.append(str(error))
                continue
            yes, no = forced(self.lm, rows, self.protocol.forward_batch)
            found.append(yes.nll < no.nll)
        return found


def run(protocol: Concepts, job: Job) -> Iterator[Part]:
    """Edit and score all concepts. Raises DataError when there are too few requests."""
    return session.run(Definitions(protocol, job))
