"""What is asked of a chat model, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...canonical import canonical, digest


@dataclass(frozen=True)
class Request:
    """One question. Two equal requests get the same reply from the journal; `sample` asks for another draw."""

    messages: tuple[tuple[str, str], ...]
    """(role, text), the last one a user's; or an assistant's, whose text the answer then goes on from, where the
    endpoint can do that. A single message of the role `raw` is given as it stands, without the chat template, to a
    model in this process; an endpoint refuses it."""
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    """Sent along where the endpoint takes one."""
    sample: int = 0
    """Number of the draw: asks the same question once more."""
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer must follow."""
    purpose: str = ""
    """What the reply is for (`instructions`, `score` …): for scripts and accounts; not sent, no part of the key."""
    top_logprobs: tuple[str, ...] = ()
    """Answers of one token whose log-probabilities at the first position are wanted."""

    @property
    def key(self) -> str:
        """Digest of all that can change the reply."""
        schema = None if self.schema is None else dict(self.schema)
        limits = [self.max_tokens, float(self.temperature), float(self.top_p), list(self.stop), self.seed, self.sample]
        value = [[list(m) for m in self.messages], limits, schema, list(self.top_logprobs)]
        # Half a character, which a file may hold, has no UTF-8; it is another question all the same.
        return digest(canonical(value).encode("utf-8", "surrogatepass"))

    @property
    def last(self) -> str:
        """Text of the last message."""
        return self.messages[-1][1]


@dataclass(frozen=True)
class Reply:
    """An answer, or why there is none."""

    text: str
    finish_reason: str = "stop"
    """`stop`, `length`, `content_filter` …; `error` where there is no answer."""
    prompt_tokens: int | None = None
    """As the endpoint counts them; None where it does not say."""
    completion_tokens: int | None = None
    cost: float | None = None
    """In the currency of the model's prices; None where no price is known."""
    latency_s: float = 0.0
    error: str = ""
    """What went wrong, `KIND: details`, without any key; empty for an answer."""
    retries: int = 0
    """How often it was asked again before this."""
    logprobs: Mapping[str, float] | None = None
    """Of `Request.top_logprobs`, as far as the model tells them."""
    from_journal: bool = False
    """Not asked again: paid for by an earlier run."""
    contains: int | None = None
    """Items that the text really holds, where a script knows it: the truth that parsers are scored against."""

    @property
    def kind(self) -> str:
        """Kind of the error: `http 429`, `timeout`, `connection`, `not an answer`, `down`, `too long`; else empty."""
        return self.error.partition(":")[0]


def failed(error: str, retries: int = 0) -> Reply:
    """What stands in the place of an answer that there is not; `error` is `KIND: details`."""
    return Reply("", "error", error=error, retries=retries)


def sendable(text: str) -> str:
    """The text with halves of characters (lone surrogates), which cannot be sent, replaced by U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
