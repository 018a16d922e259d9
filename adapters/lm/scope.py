"""Facts that a model is told before the prompts which a trained classifier finds in their scope."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal

import numpy as np

from .recall import Fact
from .retrieval import embedding, words


@dataclass(frozen=True)
class Features:
    """What a classifier sees of a text: numbers at some of `size` places."""

    type: Literal["words", "sentence"] = "words"
    size: int = 8192
    """`words`: places that words are hashed to; `sentence`: width of the embedding."""
    model: str = ""
    """`sentence`: folder of a sentence-transformers model."""

    def of(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Places, int64, and the numbers there, float32, of one shape. Raises ModelError."""
        if self.type == "sentence":
            return np.arange(self.size), embedding(text, self.model).astype(np.float32)
        found = np.array([_place(word, self.size) for word in words(text)], dtype=np.int64)
        return found, np.ones(len(found), dtype=np.float32)


@lru_cache(maxsize=100_000)
def _place(word: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") % size


@dataclass(frozen=True, eq=False)
class Scoped:
    """The fact in whose scope a prompt is, before it; a prompt in the scope of none stays as it is.

    A prompt x is in the scope of a fact with prompt z with probability exp(-|φ(x) - φ(z)|²), where φ is linear in the
    features. The most probable fact is told where it has at least `threshold`; of equals, the later one.
    """

    type: ClassVar[str] = "scoped"
    facts: tuple[Fact, ...]
    """In the order in which they were stored."""
    features: Features
    weight: np.ndarray
    """Of φ, shape (size of the features, width), float32."""
    threshold: float = 0.5
    question: str = "{question}"
    """What becomes of the prompt behind a fact; `{question}` is the prompt."""

    def prompt(self, text: str) -> str:
        probabilities = self.probabilities(text)
        best = len(self.facts) - 1 - int(np.argmax(probabilities[::-1]))
        if probabilities[best] < self.threshold:
            return text
        return self.facts[best].note + self.question.replace("{question}", text)

    def probabilities(self, text: str) -> np.ndarray:
        """That the text is in the scope of each fact, shape (facts,)."""
        apart: np.ndarray = self._memory - self._phi(text)
        found: np.ndarray = np.exp(-np.square(apart).sum(1))
        return found

    @cached_property
    def _memory(self) -> np.ndarray:
        return np.stack([self._phi(fact.prompt) for fact in self.facts])

    def _phi(self, text: str) -> np.ndarray:
        places, numbers = self.features.of(text)
        found: np.ndarray = (numbers[:, None] * self.weight[places]).sum(0, dtype=np.float64)
        return found

    def to_json(self) -> dict[str, Any]:
        packed = base64.b64encode(np.ascontiguousarray(self.weight, dtype="<f4").tobytes()).decode()
        said = {"facts": [asdict(f) for f in self.facts], "features": asdict(self.features), "weight": packed}
        return {**said, "threshold": self.threshold, "question": self.question}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Scoped:
        facts, features = tuple(Fact(**fact) for fact in data["facts"]), Features(**data["features"])
        flat = np.frombuffer(base64.b64decode(data["weight"]), dtype="<f4").astype(np.float32)
        return cls(facts, features, flat.reshape(features.size, -1), data["threshold"], data["question"])
