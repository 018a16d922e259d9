"""Whatever one cell does, the others finish; and a run goes on where it was stopped, to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]


def cells(run: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(f.read_text(encoding="utf-8")) for f in run.glob("cells/*/cell.json")]
    return {c["method"]: c for c in found}


def content(run: Path) -> dict[str, bytes]:
    """Records, items and exhibits of every cell."""
    return {
        str(f.relative_to(run)): f.read_bytes()
        for f in sorted(run.glob("cells/**/*"))
        if f.is_file() and f.name != "cell.json"
    }


def test_every_fault_is_a_record_and_none_stops_the_others(cli: Cli, faulty: Path, folder: Path) -> None:
    hows = ["raise", "hang", "segfault", "exit", "kill", "leak", "skip", "memory", "nan", "well"]
    done = cli("run", "task:squares", *hows, "--model", "box", "--timeout", "10", "--out", "r", expect=1)
    found = cells(folder / "r")
    assert {how: found[how]["status"] for how in hows} == {
        "raise": "failed", "hang": "timeout", "segfault": "failed", "exit": "failed", "kill": "oom", "leak": "leaked",
        "skip": "skipped", "memory": "oom", "nan": "failed", "well": "ok",
    }  # fmt: skip
    causes = {how: found[how]["error"]["cause"] for how in hows if how != "well"}
    assert causes["raise"] == "RuntimeError: the third item is unlucky"
    assert causes["hang"] == "ran longer than 10 s"
    assert "signal 11 (SIGSEGV)" in causes["segfault"]
    assert causes["exit"] == "the worker ended with exit code 7"
    assert "signal 9" in causes["kill"]
    assert "the content is [1, 2, 3, 4]" in causes["leak"]
    assert causes["skip"] == "this method does not fit this box"
    assert "not finite" in causes["nan"]
    assert "number 3" in found["raise"]["error"]["log"]
    assert 'RuntimeError("the third item is unlucky")' in found["raise"]["error"]["traceback"]
    # A cell that is not ok has no records, and is shown with its cause.
    assert (folder / "r" / "cells" / found["leak"]["id"] / "records.jsonl").read_text(encoding="utf-8") == ""
    assert "the third item is unlucky" in (folder / "r" / "report.html").read_text(encoding="utf-8")
    assert "failed: squares · raise · box · seed 0" in done.stderr
    # The model that leaked was opened afresh for the cells after it, which end ok.
    repeat = found["raise"]["error"]["repeat"]
    assert repeat.startswith("benchwright run task:squares ")
    again = cli(*repeat.split()[1:], expect=1)
    assert "1 cells, 1 to run" in again.stderr
    # Repeating one cell leaves what was asked for as it was.
    assert len(json.loads((folder / "r" / "run.json").read_text(encoding="utf-8"))["cells"]) == len(hows)


def test_what_runs_again(cli: Cli, faulty: Path, folder: Path) -> None:
    words = ["run", "task:squares", "raise", "kill", "skip", "well", "--model", "box", "--out", "r"]
    cli(*words, expect=1)
    assert (
        "4 cells, 2 to run, 1 done before, 1 failed before (--retry-failed runs them again)"
        in cli(*words, expect=1).stderr
    )
    assert "4 cells, 3 to run, 1 done before" in cli(*words, "--retry-failed", expect=1).stderr
    assert "4 cells, 4 to run, 0 done before" in cli(*words, "--fresh", expect=1).stderr


def start(words: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "benchwright", *words]
    return subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_parts(run: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(run.glob("partial/*/*.json"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    cli: Cli, faulty: Path, folder: Path, environment: Mapping[str, str], sign: signal.Signals
) -> None:
    words = ["run", "task:squares", "slow", "well", "--model", "box"]
    cli(*words, "--out", "whole")
    process = start([*words, "--out", "r"], environment)
    wait_for_parts(folder / "r", 1)
    process.send_signal(sign)
    _, said = process.communicate(timeout=60)
    if sign != signal.SIGKILL:
        assert process.returncode == 130
        assert b"the same command goes on from here" in said
    assert "slow" not in cells(folder / "r")
    kept = {f: f.stat().st_mtime_ns for f in (folder / "r").glob("partial/*/*.json")}
    assert kept
    cli(*words, "--out", "r")
    assert content(folder / "r") == content(folder / "whole")
    assert not list((folder / "r").glob("partial/*"))


def test_a_killed_worker_costs_a_part_not_the_cell(
    cli: Cli, faulty: Path, folder: Path, environment: Mapping[str, str]
) -> None:
    words = ["run", "task:squares", "slow", "well", "--model", "box", "--out", "r"]
    process = start(words, environment)
    wait_for_parts(folder / "r", 2)
    children = [c for t in Path(f"/proc/{process.pid}/task").iterdir() for c in (t / "children").read_text().split()]
    os.kill(int(children[0]), signal.SIGKILL)
    process.communicate(timeout=60)
    found = cells(folder / "r")
    assert (found["slow"]["status"], found["well"]["status"]) == ("oom", "ok")
    (partial,) = (folder / "r").glob("partial/*")
    before = {f.name: f.stat().st_mtime_ns for f in partial.glob("*.json")}
    assert len(before) == 2
    cli(*words)
    assert cells(folder / "r")["slow"]["status"] == "ok"
    assert len(content(folder / "r")) == 2 * (2 + 6)


def test_a_worker_leaves_with_its_parent(cli: Cli, faulty: Path, folder: Path, environment: Mapping[str, str]) -> None:
    process = start(["run", "task:squares", "parent", "--model", "box", "--out", "r"], environment)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    # The lock died with the parent: the same folder can be used at once.
    cli("run", "task:squares", "well", "--model", "box", "--out", "r")
    # The worker, which would have slept on for ten minutes, has noticed.
    deadline = time.monotonic() + 30
    while environment_has(folder / "cache"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def environment_has(cache: Path) -> list[str]:
    """Processes that run with this cache, i.e. those of this test."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(cache).encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_broken_plugin_is_a_warning_until_it_is_needed(cli: Cli, folder: Path) -> None:
    broken = str(Path(__file__).parents[1] / "data" / "broken_plugin")
    (folder / "good.yaml").write_text("kind: method\nname: good\nextends: ft-m\n", encoding="utf-8")
    said = cli("validate", "good.yaml", PYTHONPATH=broken)
    assert "plug-in broken cannot be loaded (ImportError: a library that it needs is missing)" in said.stderr
    assert "1 spec ok" in said.stdout
    assert "broken: ImportError" in cli("doctor", PYTHONPATH=broken).stdout
    (folder / "m.yaml").write_text("kind: method\nname: m\nalgorithm: {type: theirs}\n", encoding="utf-8")
    said = cli("validate", "m.yaml", PYTHONPATH=broken, expect=2)
    assert "m.yaml:3:19: algorithm.type: unknown type 'theirs' (plug-in broken cannot be loaded" in said.stderr


def test_a_leak_before_a_failure_leaves_no_part(cli: Cli, faulty: Path, folder: Path) -> None:
    """What was made with a changed model is not kept, however the cell ends and whatever comes after."""
    words = ["run", "task:squares", "leak-then-raise", "well", "--model", "box", "--out", "r"]
    cli(*words, expect=1)
    found = cells(folder / "r")
    assert (found["leak-then-raise"]["status"], found["well"]["status"]) == ("leaked", "ok")
    assert not list((folder / "r").glob("partial/*"))


def test_a_child_that_the_worker_leaves_behind_does_not_hold_up_the_run(cli: Cli, faulty: Path, folder: Path) -> None:
    start_s = time.monotonic()
    cli("run", "task:squares", "orphan", "well", "--model", "box", "--out", "r", expect=1)
    assert time.monotonic() - start_s < 60
    assert cells(folder / "r")["orphan"]["status"] == "failed"
    assert cells(folder / "r")["well"]["status"] == "ok"


@pytest.mark.parametrize("how", ["surrogate", "twice", "unknown", "badname"])
def test_what_cannot_be_written_is_a_failed_cell(cli: Cli, faulty: Path, folder: Path, how: str) -> None:
    cli("run", "task:squares", how, "well", "--model", "box", "--out", "r", expect=1)
    found = cells(folder / "r")
    assert (found[how]["status"], found["well"]["status"]) == ("failed", "ok")
    message = {
        "surrogate": "bad text",
        "twice": "twice",
        "unknown": "no metric",
        "badname": "cannot name",
    }
    assert message[how] in found[how]["error"]["cause"]


def test_other_chunks_after_a_kill_lose_and_repeat_nothing(
    cli: Cli, faulty: Path, folder: Path, environment: Mapping[str, str]
) -> None:
    """The size of a chunk is no part of the identity, so a resumed run may cut the items elsewhere."""
    words = ["run", "task:squares", "slow", "--model", "box", "--out", "r"]
    process = start(words, environment)
    wait_for_parts(folder / "r", 1)
    process.kill()
    process.communicate(timeout=60)
    task = (faulty / "squares.yaml").read_text(encoding="utf-8")
    (faulty / "squares.yaml").write_text(task.replace("{type: faulty}", "{type: faulty, chunk: 3}"), encoding="utf-8")
    cli(*words)
    (cell,) = (folder / "r").glob("cells/*")
    assert len((cell / "items.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    assert len((cell / "records.jsonl").read_text(encoding="utf-8").splitlines()) == 6


def test_a_control_can_be_run_alone_and_shards_cover_every_cell(cli: Cli, folder: Path) -> None:
    cli("run", "task:quickstart-grade", "majority-class", "--out", "r")
    assert set(cells(folder / "r")) == {"majority-class", "prior-sampling"}
    for part in ("1/2", "2/2"):
        # Fewer questions than this make no pairs to find a circuit on and others to judge it by.
        cli("run", "ci", "--limit", "10", "--shard", part, "--out", part[0])
    parts = [{cell.name for cell in (folder / part / "cells").iterdir()} for part in "12"]
    assert len(parts[0] | parts[1]) == len(parts[0]) + len(parts[1]) == 36


def test_a_model_may_name_a_model_and_a_method(cli: Cli, faulty: Path, folder: Path) -> None:
    """Their content is part of its weights, so of the cell's identity; their names are not."""
    source = "source: {type: changed_box, base: BASE, method: METHOD}"

    def write(name: str, base: str, method: str) -> None:
        text = f"kind: model\nname: {name}\n{source.replace('BASE', base).replace('METHOD', method)}\n"
        (faulty / f"{name}.yaml").write_text(text, encoding="utf-8")

    def weights(model: str) -> str:
        cli("run", "task:squares", "well", "--model", model, "--out", model)
        (file,) = (folder / model).glob("cells/*/cell.json")
        return str(json.loads(file.read_text(encoding="utf-8"))["identity"]["models"]["box"]["weights"])

    (faulty / "same.yaml").write_text("kind: method\nname: same\nextends: raise\n", encoding="utf-8")
    for name, base, method in (("a", "box", "raise"), ("b", "box", "same"), ("c", "box", "hang"), ("d", "a", "raise")):
        write(name, base, method)
    a, b, c, d = map(weights, "abcd")
    assert a == b
    assert len({a, c, d}) == 3
    log = (folder / "d" / "logs" / "worker-cpu.log").read_text(encoding="utf-8")
    assert log.startswith("opened a box\nchanged by raise, 1 times\nchanged by raise, 1 times")
    # A data file of the named method counts by its content.
    text = "kind: method\nname: noted\nalgorithm: {type: behave, how: raise, notes: ./notes.txt}\n"
    (faulty / "noted.yaml").write_text(text, encoding="utf-8")
    noted = []
    for content in ("one", "two"):
        (faulty / "notes.txt").write_text(content, encoding="utf-8")
        write(f"g-{content}", "box", "noted")
        noted.append(weights(f"g-{content}"))
    assert len({a, *noted}) == 3
    write("e", "e", "raise")
    assert "source.base: cycle e -> e" in cli("run", "task:squares", "well", "--model", "e", expect=2).stderr
    write("f", "box", "rase")
    said = cli("run", "task:squares", "well", "--model", "f", expect=2).stderr
    assert "f.yaml:3:48: source.method: unknown method 'rase'; did you mean 'raise'?" in said
