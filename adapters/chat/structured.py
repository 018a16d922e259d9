"""JSON in an answer: found, checked against a schema, and asked for once more where it is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for

from .requests import Reply, Request

_STARTS = 16
"""Brackets at which a value is looked for: chatter in front of one may hold a few."""


@dataclass(frozen=True)
class Structured:
    """A value that an answer holds."""

    value: Any
    """None where there is none that follows the schema."""
    reply: Reply
    wrong: str = ""
    """Why there is none."""


def checked(request: Request, reply: Reply, check: Callable[[Any], str]) -> Structured:
    """The value of a reply, if it follows the request's schema and `check` finds nothing wrong."""
    if reply.error:
        return Structured(None, reply, reply.error)
    schema = request.schema or {}
    validator, wrong = validator_for(schema)(schema), ""
    for value in json_values(_begun(request) + reply.text):
        broken = best_match(validator.iter_errors(value))
        found = f"{broken.json_path}: {broken.message[:300]}" if broken else check(value)
        if not found:
            return Structured(value, reply)
        wrong = wrong or found
    cut = "; the answer was cut off" if reply.finish_reason == "length" else ""
    return Structured(None, reply, (wrong or "there is no JSON value in it") + cut)


def again(request: Request, answer: Structured) -> Request:
    """The question that tells what was wrong."""
    messages = request.messages[:-1] if request.messages[-1][0] == "assistant" else request.messages
    said = _begun(request) + answer.reply.text
    asked = (
        f"This answer cannot be used: {answer.wrong}. Answer once more, with one JSON value that follows the schema "
        f"and nothing else.\nSchema: {json.dumps(request.schema or {}, default=dict, ensure_ascii=False)}"
    )
    return replace(request, messages=(*messages, ("assistant", said or "(empty)"), ("user", asked)))


def json_values(text: str) -> Iterator[Any]:
    """The JSON value that a text is; else the maps and lists in it, from its beginning, whatever stands around."""
    try:
        yield json.loads(text)
        return
    except (ValueError, RecursionError):
        pass
    place, read = 0, json.JSONDecoder().raw_decode
    for _ in range(_STARTS):
        start = re.compile(r"[{\[]").search(text, place)
        if start is None:
            return
        try:
            value, place = read(text, start.start())
        except (ValueError, RecursionError):
            place = start.end()
        else:
            yield value


def _begun(request: Request) -> str:
    """What the request itself makes the answer begin with."""
    return request.last if request.messages[-1][0] == "assistant" else ""
