"""Every method on every small task that it fits: leaves the model as it was, and gives the same records always."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchwright.adapters.detox.sources.params import ForbiddenCases
from benchwright.adapters.editing.sources.params import WorldEdits
from benchwright.adapters.lm.interventions import Intervention
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.worlds.params import World
from benchwright.api import library
from benchwright.artifacts import ArtifactStore
from benchwright.canonical import canonical
from benchwright.components import Opening
from benchwright.job import Job
from benchwright.loading.library import Library
from benchwright.loading.resolve import resolve
from benchwright.parts import join
from benchwright.plan import Options, mismatch, plan
from benchwright.worker import Bench

CPU = Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere")))
MODEL, TOXIC = ("atlas-small",), ("forbidden",)
SMALL = {
    **{"atlas-small-edit": 2, "quickstart-grade": 2, "fundus-small": 2, "quick-forbidden": 2},
    **{"circuit-truth-small": 1, "atlas-small-circuit": 12, "look-atlas-small": 28, "atlas-small-multihop": 2},
    **{"quick-planted": 700, "generator-truth": 12},
}
"""Tasks, and the number of items that are used of each."""


def model_of(task: str) -> tuple[str, ...]:
    """Who is put to a task."""
    return TOXIC if "forbidden" in task else MODEL


THEIRS = {"mcf-net", "quickqual-predictions"}
"""Methods that are files of other people's."""
WRITERS = {"self-instruct", "evol-instruct", "backtranslation"}
"""Methods that leave open who writes; those of their names with `-simulated` run here."""
POINTS = {"r-rome", "rome-rect", "memit-rect", "memit-prune", "kn-easyedit", "unke-are", "alphaedit-are"}
"""Editors that differ in one step from one that is run here; the step has tests of its own (tests/unit)."""
RATERS = {"resnet18-rating", "features-ridge"}
"""No shipped task has ratings; see tests/unit/test_iqa_run.py."""
TINY = "{name: tiny_cnn, pretrained: false}"
QUICK = {
    "network": f"{{size: 64, backbone: {TINY}, recipe: {{epochs: 1}}}}",
    "features": "{size: 64}",
    "frozen": f"{{size: 64, features: {{backbone: {TINY}}}}}",
    "mend": "{rank: 16, training: {steps: 3}}",
    "malmen": "{rank: 16, training: {steps: 2, batch: 2, sequence: 2, backtracking: 2}}",
    "lm_steer": "{steps: 5}",
}
"""What makes a learner quick: its branches, fusion, loss and recipe stay as they are shipped."""


QUICK_TASKS = """
kind: task
name: quick-forbidden
extends: forbidden-small
protocol: {new_tokens: 12, costly_cases: 1, relearning: {steps: 1, batch_size: 2}, mechanism: {directions: 2}}
---
kind: task
name: quick-planted
extends: planted-defects
protocol: {clean: 60, each: 1, budget: 30}
"""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The shipped specs, and a quick child of every learner and of a task with costly parts."""
    folder = tmp_path_factory.mktemp("quick")
    for number, text in enumerate(QUICK_TASKS.split("---")):
        (folder / f"task-{number}.yaml").write_text(text, encoding="utf-8")
    shipped = library([])
    for name in sorted(set(shipped.names("method")) - THEIRS - RATERS):
        algorithm = resolve(shipped, shipped.get("method", name), MODEL).spec.algorithm
        frozen = algorithm.type == "features" and algorithm.features.type == "backbone"
        if change := QUICK.get("frozen" if frozen else algorithm.type):
            text = f"kind: method\nname: quick-{name}\nextends: {name}\nalgorithm: {change}\n"
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return library([folder])


SAMPLE = {"rome", "ft-m", "grace", "ice"}
"""Editors that are put to the tasks of other protocols, too: one for each kind of patch."""


def fitting(known: Library) -> list[tuple[str, str]]:
    """Tasks and methods that fit; of learners the quick ones."""
    found = []
    for task in (task for task in SMALL if ("task", task) in known.entries):
        task_spec = resolve(known, known.get("task", task)).spec
        for name in sorted(set(known.names("method")) - THEIRS - WRITERS - POINTS):
            spec = resolve(known, known.get("method", name), model_of(task)).spec
            slow = spec.algorithm.type in QUICK and not name.startswith("quick-")
            # The made-up predictions are for the made-up labels.
            made_up = name.startswith("quickstart-") and task != "quickstart-grade"
            elsewhere = ("atlas-small-edit", name) in found and name not in SAMPLE
            if not mismatch(task_spec, spec) and not slow and not made_up and not elsewhere:
                found.append((task, name))
    return found


EDITORS = {m for t, m in fitting(library([])) if t == "atlas-small-edit"}
PATCHES = {
    name: "atlas-small-edit" if name in EDITORS else "quick-forbidden"
    for name in sorted(set(library([]).names("method")) - POINTS)
    if isinstance(a := resolve(library([]), library([]).get("method", name), TOXIC).spec.algorithm, Intervention)
    and a.type not in QUICK
} | {f"quick-{name}": "quick-forbidden" for name in ("mend", "malmen", "rledit", "lm-steer")}
"""Methods that change a language model, each with a task that it fits."""


def test_every_method_is_covered(known: Library) -> None:
    covered = {m.removeprefix("quick-") for _, m in fitting(known)}
    assert covered == set(library([]).names("method")) - THEIRS - WRITERS - RATERS - POINTS


def run_in(known: Library, pairs: list[tuple[str, str]], order: list[int], out: Path) -> dict[str, tuple[str, str]]:
    """Records and items of every cell, all run by one worker on one opened model, in the given order."""
    found = {}
    bench = Bench(lambda event: None)
    cells = [
        cell
        for task, limit in SMALL.items()
        if any(task == t for t, _ in pairs)
        for cell in plan(
            known, [f"task:{task}", *(m for t, m in pairs if t == task)], Options(model=model_of(task)[0], limit=limit)
        ).cells
    ]
    for number in order:
        cell = cells[number]
        job = cell.job() | {"partial": str(out / cell.id), "artifacts": str(out / "artifacts")}
        outcome = bench.run(job)
        assert outcome["status"] == "ok", outcome
        joined = join(out / cell.id)
        found[cell.label] = canonical([joined.records, joined.items]), canonical(joined.exhibits)
    bench.close()
    return found


@pytest.mark.parametrize("model", [MODEL, TOXIC])
def test_either_order_gives_the_same_records(model: tuple[str, ...], known: Library, tmp_path: Path) -> None:
    """With artifacts of its own each time, so another time gives the same as well."""
    pairs = [(task, method) for task, method in fitting(known) if model_of(task) == model]
    order = list(range(len(pairs)))
    forward = run_in(known, pairs, order, tmp_path / "forward")
    assert run_in(known, pairs, order[::-1], tmp_path / "backward") == forward
    assert len(forward) == len(pairs)


@pytest.mark.parametrize(("name", "task"), sorted(PATCHES.items()))
def test_a_patch_leaves_the_model_bit_for_bit_as_it_was(name: str, task: str, tmp_path: Path, known: Library) -> None:
    model = model_of(task)
    lm = World(type="world", name=model[0]).open(CPU)
    algorithm = resolve(known, known.get("method", name), model).spec.algorithm
    assert isinstance(algorithm, Intervention)
    before = {n: p.clone() for n, p in lm.model.state_dict().items()}
    requests = [EditRequest("0", "the old baker plays the", "baker", "violin", "flute")]
    artifacts, training = ArtifactStore(tmp_path), []
    if model == TOXIC:
        data = ForbiddenCases(type="forbidden")
        training = data.training({})
        requests = training if algorithm.scope == "dataset" else [data.load({}, 1)[0].request]
    elif "training_requests" in algorithm.consumes:
        training = list(WorldEdits(type="world_edits", world=model[0]).training({}))
    job = Job(None, None, 0, None, {}, {"subject": model[0]}, {}, artifacts, training=training)  # type: ignore[arg-type]
    algorithm.prepare(lm, job)
    patch, _ = algorithm.apply(lm, requests, None, job)
    assert lm.verify() == [], "made"
    again, _ = algorithm.apply(lm, requests, None, job)
    assert patch.digest() == again.digest()
    with patch.applied(lm):
        pass
    assert lm.verify() == []
    assert all((before[n] == p).all() for n, p in lm.model.state_dict().items())
