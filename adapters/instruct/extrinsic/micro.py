"""The micro tier: the pipeline selects from a pool of chores, students learn, and each is asked new questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ....canonical import digest
from ....job import Job, Part
from ....loading.resolve import identity
from ...worlds.chores.student import scored
from ...worlds.chores.world import Chores, chores
from ..exhibits import stages
from ..rows import Row
from ..selecting import selected
from .params import ChoresRows, LearnedChores
from .students import UNITS, Course, Unit


@dataclass(frozen=True)
class World:
    """Makes the pool and the questions of a seed."""

    data: ChoresRows
    limit: int | None
    """Rows of the pool, at most."""

    def of(self, seed: int) -> Chores:
        """The world of this seed."""
        rows = min(self.data.rows, self.limit or self.data.rows)
        return chores(seed, rows=rows, tests=self.data.tests, share=self.data.spoilt)


def learn(protocol: LearnedChores, job: Job) -> Iterator[Part]:
    """Run one cell, in one part. Students that learn from random and from clean rows are the same for all methods:
    artifacts."""
    world: Chores = job.items().of(job.seed)
    lm: Any = job.models["student"]
    pool = [Row(c.id, c.instruction, c.input, c.output) for c in world.pool]
    questions = [(c.prompt, c.output) for c in world.tests]
    course = Course(protocol, lm, pool, job.seed)

    def answers(ids: list[str], unit: Unit) -> dict[str, np.ndarray]:
        with course.student(ids, unit).applied(lm):
            return {"right": np.array([float(bool(r)) for r in scored(lm, questions, protocol.forward_batch)])}

    rivals = {".random": course.random(), ".oracle": [c.id for c in world.oracle()]}
    for name, _ in job.chunks([world], 1):
        found = selected(job, pool)
        kept = [row.id for row in found.kept]
        part = Part(name, exhibits=stages(found.tally), warnings=found.tally.warnings)
        part.items += [{"item": c.id, "verb": c.verb} for c in world.tests]
        for unit in UNITS:
            right = {"": answers(kept, unit)["right"]}
            for arm, ids in rivals.items():
                key = {
                    "student": job.fingerprints["student"],
                    "pool": digest([list(c.record().values()) for c in (*world.pool, *world.tests)]),
                    "rows": digest(ids),
                    "protocol": identity(protocol),
                    "seed": job.seed,
                    "unit": unit,
                }
                right[arm] = job.artifacts.get("student-answers", key, partial(answers, ids, unit))["right"]
            for i, c in enumerate(world.tests):
                for arm, of_arm in right.items():
                    part.record(c.id, f"exact.{unit}{arm}", float(of_arm[i]))
                part.record(c.id, f"gain.{unit}", float(right[""][i] - right[".random"][i]))
            given = course.given(kept, unit)
            part.facts[f"{unit}_budget"] = course.budget[unit]
            part.facts[f"rows_given_by_{unit}"] = len(given)
            if len(given) == len(kept):
                part.warnings.append(
                    f"the budget of {course.budget[unit]} {unit} was not reached: {len(kept)} rows were kept"
                )
        spoilt = sum(i in world.defects for i in kept)
        part.facts |= {"pool": len(pool), "kept": len(kept), "spoilt_among_kept": spoilt}
        yield part
