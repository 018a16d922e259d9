"""What a prompt template can say, and how it is filled: `{name}` stands for a text, and nothing else is special.

A text that is filled in is never looked at again, so a row that contains `{name}` stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ....components import Strict
from ....errors import UsageError, unknown

PLACEHOLDER = re.compile(r"\{(\w+)\}")
ROW = ("instruction", "input", "prompt", "output")
"""What stages that work on rows can fill in; `prompt` is instruction and input as one text."""
Filled = tuple[tuple[str, str | None], ...]
"""(role, text) of each message; None where the model's own answer is to stand."""


class Message(Strict):
    """What one side says."""

    role: Literal["system", "user", "assistant"]
    text: str | None = None
    """Empty for an assistant: the model is asked there, and its answer stands in the conversation that goes on."""


class Examples(Strict):
    """Worked examples, which stand where a message has `{examples}`; nothing stands there when there are none."""

    each: str
    """One example, with the placeholders that its fields fill."""
    separator: str = "\n\n"
    """Between two examples."""
    before: str = ""
    after: str = ""
    least: Annotated[int, Field(ge=0)] = 0
    """A template that makes no sense without examples asks for so many."""
    shown: tuple[dict[str, str], ...] = ()
    """The examples; a spec's own replace them."""


class Batch(Strict):
    """Several rows are asked about in one request (arXiv 2301.08721): `{questions}` holds them.

    The answer to a row then depends on the others beside it; that is the price of the method.
    """

    size: Annotated[int, Field(ge=2, le=64)]
    """Rows in a request."""
    each: str
    """One question, with `{number}` (from 1) and what a row fills in."""
    separator: str = "\n\n"


class Whole(Strict):
    """The answer is the reply, without white space around it."""

    type: Literal["whole"]


class After(Strict):
    """The answer stands behind the last of these labels, in any case, bold or not, up to the end of the reply."""

    type: Literal["after"]
    labels: Annotated[tuple[str, ...], Field(min_length=1)]


class Json(Strict):
    """The answer is the first JSON list or map in the reply, written in one line."""

    type: Literal["json"]


Parse = Annotated[Whole | After | Json, Field(discriminator="type")]


class Template(Strict):
    """A prompt as data."""

    kind: Literal["prompt"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    source: str = ""
    """Where the idea comes from."""
    takes: tuple[str, ...]
    """Placeholders that the stage fills in."""
    values: dict[str, str | None] = Field(default_factory=dict)
    """Placeholders that a spec fills in; null where it must, else what stands there if it does not."""
    examples: Examples | None = None
    batch: Batch | None = None
    history: bool = False
    """Whether what was said earlier in a row's conversation goes before the first message that is not the system's."""
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    parse: Parse = Whole(type="whole")

    @model_validator(mode="after")
    def _is_a_conversation(self) -> Template:
        roles = [m.role for m in self.messages]
        if roles[-1] != "user":
            raise ValueError("the last message must be the user's")
        for i, message in enumerate(self.messages):
            if message.text is None and (message.role != "assistant" or roles[i - 1] != "user" or i == 0):
                raise ValueError("only an assistant's message behind a user's may have no text")
        if self.batch is not None and (self.history or any(m.text is None for m in self.messages)):
            raise ValueError("a batch has one request and no history: leave out `history` and empty messages")
        return self

    def texts(self) -> Iterator[tuple[tuple[str | int, ...], str, frozenset[str]]]:
        """Every text with placeholders: its place, itself, and the placeholders that it may have."""
        mine = {*self.takes, *self.values}
        inside = set(mine)
        if self.examples is not None:
            inside.add("examples")
            fields = frozenset(k for shown in self.examples.shown for k in shown)
            yield ("examples", "each"), self.examples.each, fields or frozenset(found(self.examples.each))
        if self.batch is not None:
            yield ("batch", "each"), self.batch.each, frozenset({*mine, "number"})
            inside = {*self.values, *(inside - mine), "questions"}
        for i, message in enumerate(self.messages):
            if message.text is not None:
                yield ("messages", i, "text"), message.text, frozenset(inside)

    def filled(self, texts: Mapping[str, str]) -> Filled:
        """The messages with `texts` in place of their placeholders."""
        texts = {**{k: v for k, v in self.values.items() if v is not None}, **texts, "examples": self._examples()}
        return tuple((m.role, None if m.text is None else fill(m.text, texts)) for m in self.messages)

    def question(self, number: int, texts: Mapping[str, str]) -> str:
        """One question of a batch."""
        assert self.batch is not None
        given = {k: v for k, v in self.values.items() if v is not None}
        return fill(self.batch.each, {**given, **texts, "number": str(number)})

    def _examples(self) -> str:
        if self.examples is None or not self.examples.shown:
            return ""
        parts = [fill(self.examples.each, shown) for shown in self.examples.shown]
        return self.examples.before + self.examples.separator.join(parts) + self.examples.after

    def with_(self, values: Mapping[str, str], examples: Sequence[Mapping[str, str]]) -> Template:
        """The template with a spec's values and examples. Raises UsageError for what it has no place for."""
        for name in values:
            if name not in self.values:
                raise UsageError(f"prompt {self.name}: values: {unknown('value', name, self.values)}")
        given = {**self.values, **values}
        if missing := [name for name, value in given.items() if value is None]:
            raise UsageError(f"prompt {self.name}: values: {missing[0]} is missing; write it in the spec")
        if examples and self.examples is None:
            raise UsageError(f"prompt {self.name}: has no place for examples")
        if self.examples is None:
            return self.model_copy(update={"values": given})
        shown = tuple(dict(e) for e in examples) or self.examples.shown
        if len(shown) < self.examples.least:
            raise UsageError(f"prompt {self.name}: examples: needs {self.examples.least}, got {len(shown)}")
        for i, example in enumerate(shown):
            if absent := [name for name in found(self.examples.each) if name not in example]:
                raise UsageError(f"prompt {self.name}: examples.{i}: {absent[0]} is missing")
        kept = self.examples.model_copy(update={"shown": shown})
        return self.model_copy(update={"values": given, "examples": kept})


def found(text: str) -> list[str]:
    """Names of the placeholders of a text, in their order."""
    return PLACEHOLDER.findall(text)


def fill(text: str, texts: Mapping[str, str]) -> str:
    """`text` with its placeholders filled, each once and all at the same time.

    >>> fill("{a} and {b}", {"a": "{b}", "b": "c"})
    '{b} and c'
    """
    return PLACEHOLDER.sub(lambda match: texts[match[1]], text)
