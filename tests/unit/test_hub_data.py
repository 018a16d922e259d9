"""`--data hub`: what a hub that refuses and a hub that cannot be reached make a user read. Both are this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchwright.api import library
from benchwright.errors import DataError
from benchwright.kinds import HubData
from benchwright.loading.hub import fetched
from benchwright.loading.library import SHIPPED
from benchwright.loading.resolve import Resolved, data_files, data_root, resolve

DATA = HubData(repository="owner/gated")


class Refuses(BaseHTTPRequestHandler):
    """A hub that knows what is asked for and does not give it."""

    code, error, lists = 401, "GatedRepo", False
    """`lists`: says what files there are, as the hub does of a gated data set."""

    def do_GET(self) -> None:
        """Answer as the hub does."""
        listed = self.lists and "/api/" in self.path
        file = {"type": "file", "path": "a.json", "oid": "0" * 40, "size": 3}
        answer = [file] if "/tree/" in self.path else {"id": DATA.repository, "sha": "1" * 40}
        body = json.dumps(answer).encode() if listed else b""
        self.send_response(200 if listed else self.code)
        self.send_header("X-Error-Code", self.error)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(
    params=[(401, "GatedRepo", True), (403, "GatedRepo", True), (401, "RepoNotFound", False), (403, "", False)]
)
def refusing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, no_cache: None) -> Iterator[None]:
    handler = type("Handler", (Refuses,), dict(zip(("code", "error", "lists"), request.param, strict=True)))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        file = f"{here}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", here)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", file)
        yield
        server.shutdown()


def test_a_hub_that_refuses(refusing: None) -> None:
    with pytest.raises(DataError) as caught:
        fetched(DATA, ["a.json", "b.json"])
    text = str(caught.value)
    assert text.startswith("--data hub: the hub does not give owner/gated to this machine (")
    assert "accept its conditions at https://huggingface.co/datasets/owner/gated with an account of the hub" in text
    assert "log in with `hf auth login` or the variable HF_TOKEN; or download a.json, b.json elsewhere" in text


def test_a_hub_that_is_not_there(no_cache: None) -> None:
    with pytest.raises(DataError) as caught:
        fetched(DATA, ["a.json"])
    text = str(caught.value)
    assert text.startswith("--data hub: owner/gated is not in the local cache and the hub cannot be asked (")
    assert text.endswith("download a.json elsewhere and give the folder")
    assert "hf auth login" not in text


def task(folder: Path, file: str) -> Resolved:
    body = f"data: {{type: edit_requests, file: {file}}}\ndata_hub: {{repository: owner/gated}}\ndata_help: Ask them.\n"
    spec = folder / "mine.yaml"
    spec.write_text(f"kind: task\nname: mine\n{body}protocol: {{type: edit, mode: single}}\n", encoding="utf-8")
    known = library()
    return resolve(known, known.add(spec))


def test_the_task_s_own_help_follows(folder: Path, no_cache: None) -> None:
    with pytest.raises(DataError, match=r"download a\.json elsewhere and give the folder\nAsk them\.$"):
        data_root(task(folder, "a.json"), "hub")


@pytest.mark.parametrize("name", ["./beside.json", "builtin:quickstart/LICENSE"])
def test_a_file_that_is_elsewhere_is_not_asked_of_the_hub(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda _, **options: asked.append(options["allow_patterns"]) or str(folder)
    )
    (folder / "beside.json").write_text("[]", encoding="utf-8")
    mine = task(folder, name)
    assert data_root(mine, "hub") == folder
    assert asked == [[]]


def test_shipped_data_and_a_single_file_of_one_s_own(folder: Path) -> None:
    shipped = next(f for f in sorted((SHIPPED / "data" / "quickstart").rglob("*")) if f.is_file())
    name = shipped.relative_to(SHIPPED / "data").as_posix()
    assert data_files(task(folder, f"builtin:{name}"), None, "") == {"data.file": shipped}
    with pytest.raises(DataError, match=r"mine\.yaml:3:.*data\.file: no file .*nowhere\.json\nAsk them\."):
        data_files(task(folder, "builtin:nowhere.json"), None, "Ask them.")
