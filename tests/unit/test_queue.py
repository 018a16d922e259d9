"""Workers that share a queue: each keeps to the models that it has open as long as it can, and none idles."""

from __future__ import annotations

from typing import Any

from benchwright.api import library
from benchwright.executors import executor
from benchwright.plan import Options, plan
from benchwright.runner import Runner, _Queue


class Named:
    def __init__(self, name: str) -> None:
        self.group, self.name = name[0], name


def queue(*names: str) -> Any:
    return _Queue([Named(n) for n in names])  # type: ignore[misc]


def taken(found: Any, *groups: str) -> list[str]:
    return [cell.name if (cell := found.take(g)) else "" for g in groups]


def test_a_worker_stays_with_its_group_and_then_begins_another() -> None:
    assert taken(queue("a1", "a2", "b1"), "", "a", "a", "b") == ["a1", "a2", "b1", ""]


def test_two_workers_begin_different_groups_and_then_help_where_most_is_left() -> None:
    found = queue("a1", "b1", "b2", "b3", "c1", "c2")
    assert taken(found, "", "", "a", "a", "c", "b") == ["a1", "b1", "c1", "b2", "c2", "b3"]
    assert found.take("b") is None


def test_a_single_group_is_shared() -> None:
    assert taken(queue("a1", "a2", "a3"), "", "", "a", "a") == ["a1", "a2", "a3", ""]


def test_a_suite_of_small_models_runs_side_by_side_on_a_cpu(tmp_path: Any) -> None:
    planned = plan(library([]), ["ci"], Options())
    assert planned.workers == 2
    runner = Runner(tmp_path, executor("local"), cpu_workers=2)
    queues = runner._queues(planned.cells)
    assert list(queues) == [":cpu", "1:cpu"]
    assert queues[":cpu"] is queues["1:cpu"]
    assert list(Runner(tmp_path, executor("local"))._queues(planned.cells)) == [":cpu"]
