"""The libraries that speak to endpoints. Their own retries are off: see endpoint.py."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import ModelError
from .limits import Pace

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .params import LiteLLM, OpenAI


def open_openai(spec: OpenAI, fingerprint: str) -> Endpoint:
    """Through OpenAI's SDK. Raises ModelError without it, or without a key for OpenAI itself."""
    try:
        import openai
    except ImportError as error:
        raise ModelError("a source of type openai needs the OpenAI SDK: pip install 'benchwright[api]'") from error
    key = _key(spec.api_key_env)
    if key is None and spec.address is None:
        raise ModelError(
            f"model {spec.model}: the environment variable {spec.api_key_env} is not set; set it to your key, name "
            "another one with api_key_env, or give the base_url of an endpoint that needs none"
        )
    # The SDK insists on a key, also where the endpoint does not.
    client = openai.OpenAI(api_key=key or "none", base_url=spec.address, timeout=spec.timeout_s, max_retries=0)

    def send(body: dict[str, Any]) -> str:
        return client.post("/chat/completions", cast_to=str, body=body)

    return _endpoint(spec, fingerprint, send, client.close)


def open_litellm(spec: LiteLLM, fingerprint: str) -> Endpoint:
    """Through LiteLLM, whose exceptions are those of OpenAI's SDK. Raises ModelError without it."""
    # It would fetch a table of prices while it is imported; ours are in the spec.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        import litellm
    except ImportError as error:
        raise ModelError("a source of type litellm needs LiteLLM: pip install 'benchwright[litellm]'") from error
    litellm.suppress_debug_info = True  # it prints advertisements for its support beside every error
    key = _key(spec.api_key_env) if spec.api_key_env else None

    def send(body: dict[str, Any]) -> str:
        answer = litellm.completion(**body, api_key=key, timeout=spec.timeout_s, num_retries=0, max_retries=0)
        return str(answer.model_dump_json())

    return _endpoint(spec, fingerprint, send, lambda: None)


def _endpoint(
    spec: OpenAI | LiteLLM, fingerprint: str, send: Callable[[dict[str, Any]], str], shut: Callable[[], object]
) -> Endpoint:
    from .endpoint import Endpoint

    paces = Pace(spec.requests_per_minute or math.inf), Pace(spec.tokens_per_minute or math.inf)
    return Endpoint(spec, fingerprint, send, *paces, key_env=spec.api_key_env, shut=shut)


def _key(name: str) -> str | None:
    """The key, or None. Raises ModelError for what no header can hold, without quoting it."""
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ModelError(
            f"the environment variable {name} holds something that cannot be a key: spaces or odd characters"
        )
    return key or None
