"""General ability before and after a change of a model, as records of a cell."""

from __future__ import annotations

from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any

from ...errors import Skip
from ...job import Job, Part
from ...metrics import Metric

if TYPE_CHECKING:
    from ..lm.model import LanguageModel
    from ..lm.patch import Patch
    from .lm_eval import Scored
    from .params import General

GENERAL = "general"

GENERAL_METRICS = tuple(
    Metric(
        f"{GENERAL}.{when}",
        f"general ability, {when}",
        "higher" if when == "after" else "none",
        f"score of a document of a general task, {what} (lower-is-better scores are negated)",
        "lm-evaluation-harness",
        by="benchmark",
        unit="score",
    )
    for when, what in (("before", "the untouched model"), ("after", "the changed model"))
)
"""Their items are documents."""


class Ability:
    """What one cell measures of it; nothing where `spec` is None."""

    def __init__(self, lm: LanguageModel, job: Job, spec: General | None, batch_size: int) -> None:
        self._lm, self._job, self._spec, self._batch_size = lm, job, spec, batch_size

    @cached_property
    def _before(self) -> list[Scored]:
        """Of the untouched model. Raises DataError, Skip."""
        from ..lm.patch import Patch

        return self._evaluated(Patch())

    def record(self, part: Part, owner: str, patch: Patch, *, shared: bool = False, **at: Any) -> None:
        """Items of their own: a document, scored on the untouched model and on the one that `owner` was made for.

        A model that is `shared` by all instances is no draw from many: then documents alone are resampled.
        """
        if self._spec is None:
            return
        if patch.decoding:
            part.skip("general ability: the method decodes in a way that lm-evaluation-harness cannot score")
            return
        try:
            sides = self._before, self._evaluated(patch)
        except Skip as error:
            part.skip(f"general ability: {error}")
            return
        # A perplexity may be infinite; before and after speak of the same documents.
        for before, after in zip(*sides, strict=True):
            if not (isfinite(before.value) and isfinite(after.value)):
                part.skip("general ability: a document's value is not finite")
                continue
            benchmark, document = f"{before.task}.{before.metric}", f"{before.task}:{before.document}"
            item = f"{owner}/{GENERAL}/{benchmark}/{before.document}"
            cluster = [document, document if shared else owner]
            part.items.append({"item": item, "benchmark": benchmark, "cluster": cluster})
            for when, one in (("before", before), ("after", after)):
                part.record(item, f"{GENERAL}.{when}", one.value if one.better == "higher" else -one.value, **at)

    def _evaluated(self, patch: Patch) -> list[Scored]:
        from .lm_eval import evaluate

        assert self._spec is not None
        folder = self._job.files.get("protocol", {}).get("general.folder")
        return evaluate(self._lm, patch, self._spec, folder, self._batch_size)
