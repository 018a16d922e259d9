"""Fixtures of the unit tests."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    """A module beside this file, which `--import-mode=importlib` does not put on the path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch computes on one thread: the same bytes on every machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def synthetic() -> ModuleType:
    """The module `synthetic_runs`: metrics, and `SyntheticRun(folder)`."""
    return _load("synthetic_runs")


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Any]:
    """Makes an empty run folder with the given name."""
    return lambda name="run": _load("synthetic_runs").SyntheticRun(tmp_path / name)


class _Page(HTMLParser):
    """Collects what a page would load, its scripts and its visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.texts: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.scripts += tag == "script"
        for name, value in attrs:
            if tag == "a" and name == "href":
                self.links.append(value or "")
            elif name in ("src", "href", "srcset", "data", "action", "poster") and not (value or "").startswith(
                "data:"
            ):
                self.loads.append(f"{tag} {name}={value}")
            elif name.startswith("on"):
                self.loads.append(f"{tag} {name}")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.loads += [word for word in ("@import", "url(") if word in data]
        elif self._inside != "script":
            self.texts.append(data)


@pytest.fixture
def read_page() -> Callable[[str], _Page]:
    """Parses HTML as a browser would; `loads` is what it would fetch."""

    def read(html: str) -> _Page:
        page = _Page()
        page.feed(html)
        return page

    return read
