"""The small and the full tier: the student is any language model, and it is asked tasks of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from ....job import Job, Part
from ...bridges.lm_eval import Scored, evaluate
from ...lm.patch import Patch
from ..contents import Instructions
from ..exhibits import stages
from ..selecting import selected
from .params import FineTuned
from .students import UNITS, Course


def tune(protocol: FineTuned, job: Job) -> Iterator[Part]:
    """Run one cell, in one part. Raises DataError, Skip as lm-eval's tasks do."""
    data: Instructions = job.items()
    lm: Any = job.models["student"]
    course = Course(protocol, lm, data.rows, job.seed)
    folder = job.files.get("protocol", {}).get("general.folder")

    def asked(patch: Patch) -> list[Scored]:
        return evaluate(lm, patch, protocol.general, folder, protocol.forward_batch)

    for name, _ in job.chunks([data], 1):
        found = selected(job, data.rows)
        kept = [row.id for row in found.kept]
        part = Part(name, exhibits=stages(found.tally), warnings=found.tally.warnings)
        before = asked(Patch())
        for one in before:
            item = _item(one)
            part.items.append(
                {"item": item, "benchmark": f"{one.task}.{one.metric}", "cluster": f"{one.task}:{one.document}"}
            )
            if isfinite(one.value):
                part.record(item, "general.before", _up(one))
        for unit in UNITS:
            own, random = asked(course.student(kept, unit)), asked(course.student(course.random(), unit))
            for one, other in zip(own, random, strict=True):
                if not (isfinite(one.value) and isfinite(other.value)):
                    part.skip("general ability: a document's value is not finite")
                    continue
                part.record(_item(one), f"general.{unit}", _up(one))
                part.record(_item(one), f"general.{unit}.random", _up(other))
                part.record(_item(one), f"gain.{unit}", _up(one) - _up(other))
            part.facts[f"{unit}_budget"] = course.budget[unit]
            part.facts[f"rows_given_by_{unit}"] = len(course.given(kept, unit))
        part.facts |= {"pool": len(data.rows), "kept": len(kept)}
        yield part


def _item(one: Scored) -> str:
    return f"{one.task}.{one.metric}/{one.document}"


def _up(one: Scored) -> float:
    """Its value, negated where lower is better."""
    return one.value if one.better == "higher" else -one.value
