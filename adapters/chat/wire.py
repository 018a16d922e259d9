"""OpenAI's chat completions: what is sent for a request, and what an answer says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .params import Served
from .requests import Reply, Request, sendable

_MOST_LOGPROBS = 20
"""As many as OpenAI tells."""


class NotAnAnswer(ValueError):
    """The endpoint said that all went well, and sent something else."""


def body(request: Request, spec: Served) -> dict[str, Any]:
    """The JSON body. What has its default is left out: not every endpoint knows every parameter."""
    # Another draw must be another one where the endpoint takes a seed, too.
    seed = None if request.seed is None else request.seed + request.sample
    schema = request.schema and {"type": "json_schema", "json_schema": {"name": "answer", "schema": request.schema}}
    optional = {
        "temperature": request.temperature,
        "top_p": None if request.top_p == 1 else request.top_p,
        "stop": [sendable(text) for text in request.stop] or None,
        "seed": seed,
        "response_format": schema,
        "logprobs": bool(request.top_logprobs) or None,
    }
    sent = {name: value for name, value in optional.items() if value is not None and name not in spec.omit}
    if "logprobs" in sent:
        sent["top_logprobs"] = _MOST_LOGPROBS
    return {
        "model": spec.model,
        "messages": [{"role": role, "content": sendable(text)} for role, text in request.messages],
        spec.length_parameter: request.max_tokens,
        **sent,
    }


def estimated_tokens(request: Request) -> int:
    """Tokens that a request may use: four bytes of UTF-8 each, and the longest answer."""
    return sum(len(sendable(text).encode()) for _, text in request.messages) // 4 + 1 + request.max_tokens


def read_reply(text: str, wanted: Sequence[str] = ()) -> Reply:
    """The reply in a response's body; log-probabilities of the tokens `wanted`. Raises NotAnAnswer."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAnAnswer(f"no JSON, it begins with {text[:40]!r}; base_url usually ends in /v1") from error
    try:
        choice = data["choices"][0]
        message = choice["message"]
        said = message.get("content") or message.get("refusal") or ""
        reason = str(choice.get("finish_reason") or "stop")
    except (LookupError, TypeError, AttributeError) as error:
        raise NotAnAnswer(f"no choices in {text[:120]!r}") from error
    if not isinstance(said, str):
        raise NotAnAnswer(f"the content is no text but {str(said)[:40]!r}")
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        said,
        reason,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        logprobs=_logprobs(choice, wanted) if wanted else None,
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _logprobs(choice: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, float] | None:
    """Of tokens at the first position that are `wanted`, spaces around them aside: of the most probable spelling."""
    try:
        told = [
            (str(top["token"]).strip(), float(top["logprob"]))
            for top in choice["logprobs"]["content"][0]["top_logprobs"]
        ]
    except (LookupError, TypeError, ValueError):
        return None
    found: dict[str, float] = {}
    for token, value in told:
        if token in wanted:
            found[token] = max(value, found.get(token, value))
    return found
