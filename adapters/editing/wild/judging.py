"""Who says whether an answer is right: a comparison of words, or a model that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ....canonical import digest
from ....job import Job
from ...chat.asking import Asking
from ...chat.journal import Journal
from ...chat.models import chat_model
from ...chat.requests import Request
from ..answering import contains, ends, equal
from .params import Exact

_QUESTION = """\
Grade one answer. You are given a question, what counts as right, and the answer.

It is right if it says what counts as right, in whatever words, and nothing that contradicts it. More words than \
needed do no harm, as long as they are true to it. It is wrong if it names something else, names several things of \
which only one is meant, repeats itself without end, or says nothing. What you know yourself does not count: the text \
under "counts as right" is the measure even where it is not true of the world.

Question: {question}
Counts as right: {right}
Answer: {answer}

Reply with JSON alone: {{"right": true}} or {{"right": false}}."""
_SCHEMA = {
    "type": "object",
    "properties": {"right": {"type": "boolean"}},
    "required": ["right"],
    "additionalProperties": False,
}
_TOKENS = 64


@dataclass(frozen=True)
class Said:
    """An answer to be judged."""

    question: str
    right: tuple[str, ...]
    text: str
    aloud: bool = False
    """Whether it was reasoned aloud: then its end counts."""


class Judge(Protocol):
    """Judges answers."""

    def right(self, said: Sequence[Said]) -> list[float | None]:
        """1 for each that is right, 0 for the others, None where there is no verdict."""
        ...

    def facts(self) -> dict[str, Any]:
        """What was asked, and what it cost."""
        ...


@dataclass(frozen=True)
class Same:
    """Compares words."""

    how: Exact

    def right(self, said: Sequence[Said]) -> list[float | None]:
        compare = contains if self.how.match == "contains" else equal
        # Two empty answers are the same one.
        return [float((ends if s.aloud else compare)(s.text, s.right) or (not s.text and "" in s.right)) for s in said]

    def facts(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Asked:
    """Asks a model; an empty answer is wrong unless the right one is empty too, and is not asked about."""

    asking: Asking

    @classmethod
    def of(cls, job: Job) -> Asked:
        """The judge of a cell; replies are kept beside the artifacts, so that no cell pays twice for one."""
        state = job.fingerprints["judge"]
        kept = job.artifacts.root.parent / "replies"
        return cls(Asking(chat_model(job.models["judge"], state), Journal(kept / f"{digest(state)}.jsonl")))

    def right(self, said: Sequence[Said]) -> list[float | None]:
        """Raises ModelError, RunError."""
        found = [_without_asking(s) for s in said]
        open_ = [i for i, verdict in enumerate(found) if verdict is None]
        replies = self.asking.structured([_request(said[i]) for i in open_])
        for i, reply in zip(open_, replies, strict=True):
            found[i] = None if reply.value is None else float(reply.value["right"])
        return found

    def facts(self) -> dict[str, Any]:
        return {"judge": self.asking.account.to_json()}


def _without_asking(said: Said) -> float | None:
    """The verdict where one of the two is empty."""
    return None if said.text and any(said.right) else float(not said.text and "" in said.right)


def _request(said: Said) -> Request:
    text = _QUESTION.format(question=said.question, right=" / ".join(filter(None, said.right)), answer=said.text)
    return Request((("user", text),), _TOKENS, schema=_SCHEMA, purpose="judge")
