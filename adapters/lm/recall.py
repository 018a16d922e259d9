"""Facts that a model is told before the prompts that they concern."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from ...components import Strict
from .retrieval import Index, best, embedded, lexical


@dataclass(frozen=True)
class Fact:
    """One fact in memory."""

    prompt: str
    subject: str
    note: str
    """What the model is told."""
    demonstrations: str = ""
    """Examples of how notes are used, which stand before everything else when this fact is the best that is found."""


@dataclass(frozen=True)
class Retriever:
    """How the facts that concern a prompt are found: by the likeness of their prompts to it; see retrieval.py."""

    type: Literal["all", "lexical", "embedding"] = "all"
    top_k: int = 1
    min_score: float = 0.0
    subject_weight: float = 0.0
    model: str = ""
    """Folder of a sentence-transformers model."""

    @classmethod
    def of(cls, said: Strict, weights: Path | None) -> Retriever:
        """What a spec says, with the file that was found for its `weights`."""
        return cls(**said.model_dump(exclude={"weights"}), model=str(weights.parent) if weights else "")

    def index(self, facts: Sequence[Fact]) -> Index:
        """Of the facts' prompts. Raises ModelError."""
        texts = [fact.prompt for fact in facts]
        if self.type == "embedding":
            return embedded(texts, self.model)
        return lexical(texts, [fact.subject for fact in facts], self.subject_weight)


@dataclass(frozen=True)
class Recalled:
    """The facts that concern a prompt before it; a prompt that none concerns stays as it is."""

    type: ClassVar[str] = "recalled"
    facts: tuple[Fact, ...]
    """In the order in which they were stored."""
    retriever: Retriever = Retriever()
    question: str = "{question}"
    """What becomes of the prompt when something stands before it; `{question}` is the prompt."""

    def prompt(self, text: str) -> str:
        found = self._found(text)
        if not found:
            return text
        # What is most like the question stands next to it.
        notes = "".join(self.facts[i].note for i in reversed(found))
        return self.facts[found[0]].demonstrations + notes + self.question.replace("{question}", text)

    def _found(self, text: str) -> list[int]:
        if self.retriever.type == "all":
            return list(range(len(self.facts)))[::-1]
        return best(self._index(text), self.retriever.top_k, self.retriever.min_score)

    @cached_property
    def _index(self) -> Index:
        return self.retriever.index(self.facts)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Recalled:
        facts = tuple(Fact(**fact) for fact in data["facts"])
        return cls(facts, Retriever(**data["retriever"]), data["question"])


def restored(state: Mapping[str, torch.Tensor] | None) -> dict[str, Fact]:
    """The facts of an earlier `remembered`, by their id, in the order in which they were stored."""
    if state is None:
        return {}
    stored = json.loads(state["facts"].cpu().numpy().tobytes())
    return {fact_id: Fact(**fact) for fact_id, fact in stored}


def remembered(facts: Mapping[str, Fact]) -> dict[str, torch.Tensor]:
    """Facts as a tensor, as a sequential method's memory must be: the bytes of JSON."""
    stored = json.dumps([[fact_id, asdict(fact)] for fact_id, fact in facts.items()])
    return {"facts": torch.frombuffer(bytearray(stored.encode()), dtype=torch.uint8)}
