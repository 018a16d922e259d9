"""An endpoint on the loopback that does what it is told, and remembers what it was sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchwright.adapters.chat.requests import Request


@dataclass(frozen=True)
class Says:
    """What the endpoint does with one request."""

    text: str = "fine"
    status: int = 200
    raw: bytes | None = None
    """The body, in place of an answer or an error in due form."""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut: bool = False
    """Close the connection in the middle of the body."""
    finish_reason: str = "stop"
    logprobs: Any = None

    def body(self) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.status != 200:
            return json.dumps({"error": {"message": self.text, "code": "x"}}).encode()
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason, "logprobs": self.logprobs}
        return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}).encode()


@dataclass
class Server:
    """The address, and the bodies and headers of all requests so far."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0


@contextmanager
def serving(says: Callable[[dict[str, Any], int], Says]) -> Iterator[Server]:
    """A server while `with` lasts; `says(body, number)` decides, `number` counting requests from 0."""
    server, lock, at_once = Server(), threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(server.bodies)
                server.bodies.append(body)
                server.headers.append({name.lower(): value for name, value in self.headers.items()})
                at_once[0] += 1
                server.most_at_once = max(server.most_at_once, at_once[0])
            said = says(body, number)
            time.sleep(said.delay_s)
            data = said.body()
            with lock:
                at_once[0] -= 1
            self.send_response(said.status)
            for name, value in {"Content-Type": "application/json", **said.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if said.cut else data)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def ask(text: str, **fields: Any) -> Request:
    """A request with one message."""
    return Request((("user", text),), **fields)
