"""The truth track: plant defects, let the pipeline select, and record for each row what became of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from ...job import Job, Part
from .benches import pipeline_of
from .contents import Instructions
from .exhibits import recalls, stages
from .params import PlantedDefects
from .planting.defects import DUPLICATES, SEVERITIES
from .planting.planted import CLEAN, Planted, is_sound, planted
from .rows import Row
from .selecting import Selected, selected
from .similar.rouge import RougeIndex
from .texts import unicode_words

LEAST = len(DUPLICATES) * len(SEVERITIES)
"""Clean rows that are needed for one duplicate of each kind and severity."""
ALIKE = 0.7
"""ROUGE-L above which two instructions are near duplicates, as in Self-Instruct."""


def sound_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows that planting starts from: nothing plainly wrong with them, and no two much alike (a natural duplicate
    would be a clean row that every good filter removes)."""
    sound = [(row, unicode_words(row.instruction)) for row in rows if is_sound(row)]
    index, found = RougeIndex(ALIKE, [words for _, words in sound]), []
    for row, words in sound:
        coded = index.code(words)
        if index.nearest(coded) is None:
            index.add(coded, row.id)
            found.append(row)
    return found


def find_planted(protocol: PlantedDefects, job: Job) -> Iterator[Part]:
    """Run one cell, in one part. A limit is one of clean rows; of spoiled ones there are then fewer in proportion."""
    data: Instructions = job.task.data.load(job.files.get("data", {}), None)
    clean = min(protocol.clean, max(LEAST, job.limit or protocol.clean))
    for name, _ in job.chunks([data], 1):
        truth = planted(
            sound_rows(data.rows),
            data.evaluation,
            clean=clean,
            each=max(1, protocol.each * clean // protocol.clean),
            rng=lambda purpose: job.rng("planting", purpose),
        )
        found = selected(job, [p.row for p in truth])
        part = Part(name, warnings=found.tally.warnings)
        record(part, protocol, truth, found, _direction(job))
        part.exhibits |= stages(found.tally) | recalls(part)
        yield part


def _direction(job: Job) -> tuple[str, float] | None:
    """Name of the last stage that scores, and the sign that makes its score one of badness."""
    pipeline = pipeline_of(job)
    signs = {"worse": 1.0, "better": -1.0}
    scoring = [(n, signs[s.scores_are]) for n, s in zip(pipeline.names, pipeline.stages, strict=True) if s.scores_are]
    return scoring[-1] if scoring else None


def record(
    part: Part,
    protocol: PlantedDefects,
    truth: Sequence[Planted],
    found: Selected,
    direction: tuple[str, float] | None,
) -> None:
    kept = {row.id: row for row in found.kept}
    failed = {r.row.id for r in found.rejected if r.failed}
    final = {**{r.row.id: r.row for r in found.rejected}, **kept}
    badness: dict[str, float] = {}
    if direction is not None:
        stage, sign = direction
        badness = {i: sign * s for i, row in final.items() if (s := row.scores.get(stage)) is not None}
    chosen = _chosen(found.kept, badness, protocol.budget)
    truth_of = roles(truth, kept.keys())
    for p in truth:
        id_, label = p.row.id, truth_of[p.row.id]
        row = {"item": id_, "cluster": p.group or id_, "defect": label.defect, "severity": label.severity or CLEAN}
        if id_ in failed:
            part.items.append({"item": id_, "cluster": p.group or id_, "skipped": "no reply"})
            continue
        part.items.append(row)
        spoiled, removed = label.defect != CLEAN, id_ not in kept
        part.record(id_, "label", spoiled)
        part.record(id_, "predicted", removed)
        part.record(id_, "hit", spoiled and removed)
        part.record(id_, "removal_recall" if spoiled else "clean_lost", removed)
        part.record(id_, "kept", not removed)
        part.record(id_, "kept_clean", not removed and not spoiled)
        if chosen:
            part.record(id_, "chosen", chosen.get(id_, 0.0))
            part.record(id_, "chosen_clean", 0.0 if spoiled else chosen.get(id_, 0.0))
        if id_ in badness and p.group is None:
            part.record(id_, "spoiled", spoiled)
            part.record(id_, "badness", badness[id_])
    for group, members in _groups(truth).items():
        defect = next(m for m in members if m.defect in DUPLICATES)
        if not failed & {m.row.id for m in members}:
            part.items.append({"item": group, "defect": defect.defect, "severity": defect.severity})
            part.record(group, "one_left", sum(m.row.id in kept for m in members) == 1)
    part.facts["rows"] = len(truth)
    part.facts["rows_by_defect"] = dict(sorted(Counter(p.defect for p in truth).items()))
    if failed:
        part.warnings.append(f"{len(failed)} rows were not judged, since a model gave no reply; they are left out")


def _groups(truth: Sequence[Planted]) -> dict[str, list[Planted]]:
    found: dict[str, list[Planted]] = defaultdict(list)
    for p in truth:
        if p.group is not None:
            found[p.group].append(p)
    return found


def roles(truth: Sequence[Planted], kept: Collection[str]) -> Mapping[str, Planted]:
    """For each row the truth that it is scored against: of a pair of which only the duplicate is left, the two trade
    places, since which one goes does not matter."""
    found = {p.row.id: p for p in truth}
    for members in _groups(truth).values():
        original, copy = sorted(members, key=lambda m: m.defect != CLEAN)
        if copy.row.id in kept and original.row.id not in kept:
            found[copy.row.id], found[original.row.id] = original, copy
    return found


def _chosen(kept: Sequence[Row], badness: Mapping[str, float], budget: int) -> dict[str, float]:
    """How much of each kept row is among the `budget` best: all of it or nothing where rows are scored; otherwise the
    probability that a random choice has it. Empty where fewer were kept."""
    if len(kept) < budget:
        return {}
    if all(row.id in badness for row in kept):
        best = sorted(kept, key=lambda row: badness[row.id])[:budget]  # stable: of equals the earlier one
        return {row.id: 1.0 for row in best}
    return {row.id: budget / len(kept) for row in kept}
