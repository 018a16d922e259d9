"""What tests of instruction pipelines share: a model that says what a function says, and odd texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchwright.adapters.chat.requests import Reply, Request

ODD = [
    "",
    " ",
    "12 34",
    "请写一首关于春天的诗。",
    "🐱🐱",
    "\ud800 half \udfff",
    "ไม่มีช่องว่าง",
    "\x00\x07",
    "```python\n\ud800",
]
LONG = [
    "a(" * 50_000,
    "x " * 50_000,
    ";" * 100_000,
    " " * 100_000,
    "<a " * 33_000,
    "```python\n" * 10_000,
    '."' * 50_000,
]

STRANGE = ["", " ", "123", "把这句话翻译成英文", "😀😀", "\ud800 half", "word " * 20_000, "{prompt}", "### ", "[[[["]
"""Instructions and replies that stop nothing."""


class Fake:
    """Answers with what a function says, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Request], str | Reply]) -> None:
        self.answer = answer
        self.calls: list[list[Request]] = []
        self.forgotten: list[Request] = []
        self.warned: list[str] = []

    @property
    def asked(self) -> list[Request]:
        """All requests, in their order."""
        return [request for call in self.calls for request in call]

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        self.calls.append(list(requests))
        said = [self.answer(request) for request in requests]
        return [text if isinstance(text, Reply) else Reply(text) for text in said]

    def forget(self, requests: Sequence[Request]) -> None:
        self.forgotten += requests
