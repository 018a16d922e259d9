"""Why a request failed, whether to send it again, and how to tell it without telling a key."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import Random

import openai

from .wire import NotAnAnswer

_PASSING = frozenset({408, 409, 429})
"""With all of 5xx, the statuses that may be another one soon."""
_OF_ONE = frozenset({400, 413, 422})
"""Statuses that say something of this request, and nothing of the endpoint."""
_LONGEST_WAIT_S = 120.0
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)


@dataclass(frozen=True)
class Failure:
    """What went wrong with one attempt."""

    error: str
    """`KIND: details`, for `Reply.error`."""
    passing: bool = False
    """Whether it may go well when it is sent again."""
    after_s: float = 0.0
    """Seconds that the endpoint asks to wait first."""
    of_endpoint: bool = True
    """Whether another request would fail in the same way."""


def failure(error: openai.OpenAIError | NotAnAnswer, key_env: str | None) -> Failure:
    """What an exception means. Of a server's words only one line is told, without any key; of a refused key nothing:
    servers quote parts of it."""

    def told(words: object) -> str:
        return redacted(" ".join(str(words).split()), key_env)[:200]

    if isinstance(error, NotAnAnswer):
        return Failure(f"not an answer: {told(error)}")
    if isinstance(error, openai.APITimeoutError):
        return Failure("timeout: no answer in time; see timeout_s", passing=True)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        return Failure(f"connection: {type(cause).__name__}: {told(cause)}", passing=True)
    if not isinstance(error, openai.APIStatusError):
        return Failure(f"client: {type(error).__name__}: {told(error)}")
    status = error.status_code
    if status in (401, 403):
        return Failure(f"http {status}: the key in {key_env or 'the environment'} was refused")
    said = error.body.get("message") if isinstance(error.body, dict) else error.body
    # Money that has run out does not come back by waiting.
    passing = (status in _PASSING or status >= 500) and error.code != "insufficient_quota"
    after = _retry_after(error.response.headers.get) if passing else 0.0
    if after > _LONGEST_WAIT_S:
        return Failure(f"http {status}: the endpoint asks to wait {after:.0f} s")
    return Failure(f"http {status}: {told(said or error.message)}", passing, after, of_endpoint=status not in _OF_ONE)


def waiting_s(failure: Failure, key: str, attempt: int) -> float:
    """Seconds before attempt `attempt` + 1 (from 0): doubled each time from 1 to at most 60, shortened by up to a half
    at random (by the request's key, so that requests which failed together do not come back together), and never
    shorter than the endpoint asks for."""
    jitter = Random(f"{key} {attempt}").random() / 2
    return max(failure.after_s, min(60.0, 2.0**attempt) * (1 - jitter))


def redacted(text: str, key_env: str | None) -> str:
    """The text without the key, and without any other secret that the environment holds."""
    named = [os.environ.get(key_env, "")] if key_env else []
    others = [value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= 8]
    for secret in sorted({*named, *others}, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, "[secret]")
    return text


def _retry_after(header: Callable[[str], str | None]) -> float:
    """Seconds in `Retry-After-Ms` or `Retry-After` (a number, or a date); 0 where there is nothing to be understood."""
    try:
        milliseconds, value = header("retry-after-ms"), header("retry-after") or "0"
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
