"""A model behind an endpoint: requests in parallel, at a pace, again where that helps, and an end where it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, ClassVar

import openai

from ...errors import ModelError
from .failures import Failure, failure, waiting_s
from .limits import Pace
from .params import Prices, Served
from .requests import Reply, Request, failed
from .wire import NotAnAnswer, body, estimated_tokens, read_reply


@dataclass
class Endpoint:
    """See `ChatModel`. It is asked by threads; what they share is behind a lock."""

    spec: Served
    fingerprint: str
    send: Callable[[dict[str, Any]], str] = field(repr=False)
    """Sends a body and returns the response's; raises openai.OpenAIError."""
    requests: Pace
    tokens: Pace
    key_env: str | None = None
    """Name of the environment variable whose value no error may tell."""
    shut: Callable[[], object] = field(default=lambda: None, repr=False)
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], object] | None = None
    """Waits so many seconds; by default as long as nobody stops the run."""
    paid: ClassVar[bool] = True
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _failures: int = field(default=0, init=False, repr=False)
    """Requests that have failed, one after the other."""
    _reason: str = field(default="", init=False, repr=False)
    """Why the last of them failed."""

    @property
    def prices(self) -> Prices | None:
        return self.spec.prices

    def started(self) -> Endpoint:
        """See `ChatModel.started`; the pace goes on."""
        return replace(self)

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """See `ChatModel.answer`. A request is sent only when what came before it has been taken: no more than
        `concurrency` replies can be lost, and with one at a time none."""
        if any(role == "raw" for request in requests for role, _ in request.messages):
            raise ModelError(
                f"model {self.spec.model}: an endpoint puts every text into its chat template, so it cannot take a raw "
                "prompt; use a model in this process (source `local` or `hub`)"
            )
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.spec.concurrency, thread_name_prefix="chat")
        ahead, under_way = iter(enumerate(requests)), dict[Future[Reply], int]()
        try:
            while True:
                for i, request in islice(ahead, self.spec.concurrency - len(under_way)):
                    under_way[pool.submit(self._asked, request, stop)] = i
                if not under_way:
                    return
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    yield under_way.pop(future), future.result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def verify(self) -> list[str]:
        """Nothing here can change it."""
        return []

    def close(self) -> None:
        """Close connections."""
        self.shut()

    def _asked(self, request: Request, stop: threading.Event) -> Reply:
        """Send until there is an answer, or no hope."""
        pause, attempt = self.pause or stop.wait, 0
        while True:
            if down := self._down():
                return failed(down, attempt)
            pause(max(self.requests.reserve(1), self.tokens.reserve(estimated_tokens(request))))
            if stop.is_set():
                return failed("stopped: the run was stopped", attempt)
            found = self._sent(request)
            if isinstance(found, Reply):
                self._count(None)
                return replace(found, retries=attempt)
            if not found.passing or attempt == self.spec.retries:
                self._count(found)
                return failed(found.error, attempt)
            pause(waiting_s(found, request.key, attempt))
            attempt += 1

    def _sent(self, request: Request) -> Reply | Failure:
        begun, used = self.clock(), 0
        try:
            reply = read_reply(self.send(body(request, self.spec)), request.top_logprobs)
        except (openai.OpenAIError, NotAnAnswer) as error:
            return failure(error, self.key_env)
        else:
            used = (reply.prompt_tokens or 0) + (reply.completion_tokens or 0) or estimated_tokens(request)
            return replace(reply, latency_s=round(self.clock() - begun, 3))
        finally:
            self.tokens.correct(used - estimated_tokens(request))

    def _count(self, found: Failure | None) -> None:
        with self._lock:
            if found is None:
                self._failures = 0
            elif found.of_endpoint:
                self._failures, self._reason = self._failures + 1, found.error

    def _down(self) -> str:
        with self._lock:
            if self._failures < self.spec.give_up_after:
                return ""
            return f"down: {self._failures} requests failed one after the other, the last with {self._reason}"
