"""The command line as a user runs it: in a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

HOWS = (
    *("well", "raise", "hang", "segfault", "exit", "kill", "leak", "skip", "memory", "nan", "slow", "parent"),
    *("leak-then-raise", "orphan", "surrogate", "twice", "unknown", "badname"),
)
DATA = Path(__file__).parents[1] / "data"
Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """The environment of a command; `PYTHONPATH` brings the plug-in of the tests."""
    found = {**os.environ, "PYTHONPATH": str(DATA / "plugin"), "BENCHWRIGHT_CACHE": str(folder / "cache")}
    return {k: v for k, v in found.items() if k not in ("GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS")}


@pytest.fixture
def cli(folder: Path, environment: Mapping[str, str]) -> Cli:
    """`cli("run", "quickstart")`: the finished process, its output as text."""

    def call(*words: object, expect: int | None = 0, **variables: str) -> Done:
        command = [sys.executable, "-P", "-m", "benchwright", *map(str, words)]
        settings: dict[str, Any] = {"env": {**environment, **variables}, "capture_output": True, "text": True}
        done = subprocess.run(command, timeout=240, check=False, **settings)
        assert "Traceback" not in done.stderr + done.stdout or expect is None, done.stderr
        assert expect is None or done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        return done

    return call


@pytest.fixture
def faulty(folder: Path) -> Path:
    """Specs of the plug-in's task and of a method for each behaviour."""
    specs = folder / "specs"
    specs.mkdir()
    (specs / "box.yaml").write_text("kind: model\nname: box\nsource: {type: box}\n", encoding="utf-8")
    task = "kind: task\nname: squares\ndata: {type: counting}\nprotocol: {type: faulty}\n"
    (specs / "squares.yaml").write_text(task, encoding="utf-8")
    for how in HOWS:
        method = f"kind: method\nname: {how}\nalgorithm: {{type: behave, how: {how}}}\n"
        (specs / f"{how}.yaml").write_text(method, encoding="utf-8")
    return specs
