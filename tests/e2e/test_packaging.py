"""What is installed is what is in the repository: the traps of a package whose folders are mapped."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("harness", "adapters", "leaderboards", "reports", "specs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a clean copy of the committed and new files, as `pip install .` of a fresh clone builds it."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(copy)]
    subprocess.run(build, check=True, cwd=out)
    (found,) = out.glob("*.whl")
    return found


def tracked() -> list[str]:
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    def installed(name: str) -> str:
        part, _, rest = name.partition("/")
        return f"benchwright/{rest}" if part == "harness" else f"benchwright/{name}"

    expected = {installed(name) for name in tracked() if name.split("/")[0] in PARTS}
    found = {n for n in zipfile.ZipFile(wheel).namelist() if not n.split("/")[0].endswith(".dist-info")}
    assert found == expected


def test_the_wheel_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "BENCHWRIGHT_CACHE": str(tmp_path / "cache")}

    def run(*words: str) -> str:
        command = [sys.executable, "-P", "-m", "benchwright", *words]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        return done.stdout

    assert "quickstart" in run("list", "suite")
    assert str(site) in run("list", "--json")
    assert "ok" in run("validate", str(site / "benchwright" / "specs"))
    run("run", "task:quickstart-grade", "quickstart-careful", "--out", "r")
    assert (tmp_path / "r" / "report.html").is_file()


def test_the_top_level_folders_are_not_modules(tmp_path: Path) -> None:
    """`import harness` would make a second copy of the package; outside the checkout it must not exist."""
    for name in PARTS:
        command = [sys.executable, "-P", "-c", f"import {name}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert f"No module named '{name}'" in done.stderr
    assert not {m for m in sys.modules if m.split(".")[0] in ("harness", "adapters", "leaderboards", "reports")}
