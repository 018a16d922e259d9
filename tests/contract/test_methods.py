"""Every method on every small task that it fits: leaves the model as it was, and gives the same records always."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchwright.adapters.lm.interventions import Intervention
from benchwright.adapters.lm.requests import EditRequest
from benchwright.adapters.worlds.params import World
from benchwright.api import library
from benchwright.artifacts import ArtifactStore
from benchwright.canonical import canonical
from benchwright.components import Opening
from benchwright.job import Job
from benchwright.loading.resolve import resolve
from benchwright.parts import join
from benchwright.plan import Options, mismatch, plan
from benchwright.worker import Bench

CPU = Opening("cpu", "float32", 1, "", ArtifactStore(Path("nowhere")))
MODEL = ("atlas-small",)
SMALL = ("atlas-small-edit", "quickstart-grade")


def fitting() -> list[tuple[str, str]]:
    known = library([])
    found = []
    for task in SMALL:
        task_spec = resolve(known, known.get("task", task)).spec
        for name in known.names("method"):
            spec = resolve(known, known.get("method", name), MODEL).spec
            if not mismatch(task_spec, spec) and getattr(spec.algorithm, "file", "predictions_").startswith(
                "predictions_"
            ):
                found.append((task, name))
    return found


PAIRS = fitting()
PATCHES = sorted({m for t, m in PAIRS if t == "atlas-small-edit"})


def test_every_method_is_covered() -> None:
    known = library([])
    needs_data = {"mcf-net"}
    assert {m for _, m in PAIRS} == set(known.names("method")) - needs_data


def run_in(order: list[int], out: Path) -> dict[str, tuple[str, str]]:
    """Records and items of every cell, all run by one worker on one opened model, in the given order."""
    found = {}
    bench = Bench(lambda event: None)
    cells = [
        cell
        for task in SMALL
        for cell in plan(
            library([]), [f"task:{task}", *(m for t, m in PAIRS if t == task)], Options(model=MODEL[0], limit=2)
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


def test_either_order_gives_the_same_records(tmp_path: Path) -> None:
    """With artifacts of its own each time, so another time gives the same as well."""
    order = list(range(len(PAIRS)))
    forward = run_in(order, tmp_path / "forward")
    assert run_in(order[::-1], tmp_path / "backward") == forward
    assert len(forward) == len(PAIRS)


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_leaves_the_model_bit_for_bit_as_it_was(name: str, tmp_path: Path) -> None:
    lm = World(type="world", name=MODEL[0]).open(CPU)
    known = library([])
    algorithm = resolve(known, known.get("method", name), MODEL).spec.algorithm
    assert isinstance(algorithm, Intervention)
    before = {n: p.clone() for n, p in lm.model.state_dict().items()}
    requests = [EditRequest("0", "the old baker plays the", "baker", "violin")]
    artifacts = ArtifactStore(tmp_path)
    job = Job(None, None, 0, None, {}, {"subject": "atlas-small"}, {}, artifacts)  # type: ignore[arg-type]
    algorithm.prepare(lm, job)
    patch, _ = algorithm.apply(lm, requests, None, job)
    assert lm.verify() == []
    again, _ = algorithm.apply(lm, requests, None, job)
    assert patch.digest() == again.digest()
    with patch.applied(lm):
        pass
    assert lm.verify() == []
    assert all((before[n] == p).all() for n, p in lm.model.state_dict().items())
