"""Where models come from that are asked in words. Nothing heavy is imported here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from ...canonical import digest
from ...components import NOT_IDENTITY, Opening, Source, Strict
from ...errors import ModelError

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .replay import Replay
    from .scripted import Scripted

_ADDRESS = r"^https?://[^@?#\s]+$"
"""No user and no query, where a key could stand: specs are written into every cell."""


def _address(value: str) -> str:
    # The message never quotes what could be a password or a key.
    if not re.fullmatch(_ADDRESS, value):
        raise ValueError("expected http://HOST/… or https://HOST/… without user, password, `?` and `#`")
    return value


def _variable(value: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,79}", value):
        raise ValueError("expected the NAME of an environment variable, in capitals; never the key itself")
    return value


EnvironmentVariable = Annotated[str, AfterValidator(_variable)]


class Prices(Strict):
    """What tokens cost."""

    input_per_million: Annotated[float, Field(ge=0)]
    """Price of 1,000,000 tokens of prompts."""
    output_per_million: Annotated[float, Field(ge=0)]
    """Price of 1,000,000 tokens of answers."""
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"
    """ISO 4217."""

    def cost(self, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
        """Price of one reply, in `currency`; None where its tokens were not told."""
        if prompt_tokens is None or completion_tokens is None:
            return None
        return (prompt_tokens * self.input_per_million + completion_tokens * self.output_per_million) / 1e6


class Served(Source):
    """What all models behind an endpoint share."""

    opens: ClassVar[str] = "chat_model"
    type: str
    model: Annotated[str, Field(min_length=1)]
    """Its name, as the endpoint knows it."""
    prices: Annotated[Prices | None, NOT_IDENTITY] = None
    """Without them the cost of a run is unknown."""
    requests_per_minute: Annotated[float | None, Field(gt=0), NOT_IDENTITY] = None
    """At most so many are sent, retries included."""
    tokens_per_minute: Annotated[float | None, Field(gt=0), NOT_IDENTITY] = None
    """At most so many tokens, of prompts and answers together."""
    concurrency: Annotated[int, Field(ge=1, le=256), NOT_IDENTITY] = 8
    """Requests that are under way at once."""
    timeout_s: Annotated[float, Field(gt=0), NOT_IDENTITY] = 120
    """Seconds without a byte after which a request counts as lost."""
    retries: Annotated[int, Field(ge=0, le=20), NOT_IDENTITY] = 5
    """How often a request that failed for a passing reason is sent again."""
    give_up_after: Annotated[int, Field(ge=1), NOT_IDENTITY] = 5
    """Requests that fail one after the other before the endpoint counts as down; all others then fail at once."""
    length_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls the longest answer; OpenAI's newer models know the second name only."""
    omit: tuple[Literal["temperature", "top_p", "stop", "seed", "response_format", "logprobs"], ...] = ()
    """Parameters that the endpoint refuses: they are not sent."""


class OpenAI(Served):
    """Any endpoint that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp, Ollama, `transformers serve` …"""

    type: Literal["openai"]
    base_url: Annotated[str, AfterValidator(_address)] | None = None
    """`http://localhost:8000/v1`; else the environment variable OPENAI_BASE_URL, else OpenAI's own."""
    api_key_env: Annotated[EnvironmentVariable, NOT_IDENTITY] = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; it may be unset where `base_url` is given."""

    @property
    def address(self) -> str | None:
        """Where requests go; None for OpenAI's own. Raises ModelError for one that could hold a key."""
        address = self.base_url or os.environ.get("OPENAI_BASE_URL") or None
        if address and not re.fullmatch(_ADDRESS, address):
            raise ModelError("OPENAI_BASE_URL: expected http://HOST/… or https://HOST/… without user, `?` and `#`")
        return address and address.rstrip("/")

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """Digest of all that is known of it: address, name, and what is sent."""
        return digest(["openai", self.version, self.address, self.model, self.length_parameter, sorted(self.omit)])

    def open(self, opening: Opening) -> Endpoint:
        """See clients.py. Raises ModelError without the SDK, or without a key for OpenAI itself."""
        from .clients import open_openai

        return open_openai(self, opening.weights)


class LiteLLM(Served):
    """Any provider that LiteLLM knows; needs `pip install 'benchwright[litellm]'`."""

    type: Literal["litellm"]
    api_key_env: Annotated[EnvironmentVariable | None, NOT_IDENTITY] = None
    """Name of the environment variable that holds the key; where LiteLLM looks for the provider's if empty."""

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """Digest of all that is known of it."""
        return digest(["litellm", self.version, self.model, self.length_parameter, sorted(self.omit)])

    def open(self, opening: Opening) -> Endpoint:
        """See clients.py. Raises ModelError without the library."""
        from .clients import open_litellm

        return open_litellm(self, opening.weights)


class Script(Source):
    """Replies from a file, JSON or JSONL: for tests, and to know what a reply really holds. See scripted.py."""

    opens: ClassVar[str] = "chat_model"
    type: Literal["scripted"]
    path: Annotated[str, NOT_IDENTITY]
    """The file."""
    prices: Annotated[Prices | None, NOT_IDENTITY] = None
    """To try out an account."""

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """Digest of the file. Raises DataError."""
        return digest(["scripted", self.version, digest_of(Path(self.path))])

    def open(self, opening: Opening) -> Scripted:
        """Raises DataError for a script that breaks its format."""
        from .scripted import Scripted, read_script

        return Scripted(Path(self.path), read_script(Path(self.path)), opening.weights, self.prices)


class Replayed(Source):
    """The replies of an earlier run, from its journal, and nothing else: what it does not hold is an error."""

    opens: ClassVar[str] = "chat_model"
    type: Literal["replay"]
    journal: Annotated[str, NOT_IDENTITY]
    """The journal's file."""
    model: str | None = None
    """Whose replies, as `model` in the journal's lines says; needed where it holds those of several."""

    def fingerprint(self, digest_of: Callable[[Path], str]) -> str:
        """Digest of the journal. Raises DataError."""
        return digest(["replay", self.version, self.model, digest_of(Path(self.journal))])

    def open(self, opening: Opening) -> Replay:
        """Raises DataError, ModelError."""
        from .replay import open_replay

        return open_replay(Path(self.journal), self.model, opening.weights)
