"""Fixtures of all tests. Nothing outside the test's own folder is read or written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Artifacts and digests go to a folder of the test session, shared by its tests as a user's cache is by runs."""
    known = os.environ.get("BENCHWRIGHT_CACHE")
    os.environ["BENCHWRIGHT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if known is None:
        del os.environ["BENCHWRIGHT_CACHE"]
    else:
        os.environ["BENCHWRIGHT_CACHE"] = known


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of peers' fixtures and real data beside the checkout; the test is skipped, and says so, without it."""
    found = Path(__file__).parents[2] / "shared"
    if not found.is_dir():
        pytest.skip("no ../shared folder with fixtures and data")
    return found
