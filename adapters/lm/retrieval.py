"""Which of several stored texts are like another one."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import ModelError

Index = Callable[[str], np.ndarray]
"""`index(text)`: how like each stored text is to it, at most 1."""


def best(scores: np.ndarray, most: int, least: float) -> list[int]:
    """Numbers of the `most` highest scores that reach `least`, the highest first, the earlier of equals first."""
    return [int(i) for i in np.argsort(-scores, kind="stable")[:most] if scores[i] >= least]


def words(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters, digits and underscores."""
    return re.findall(r"\w+", text.lower())


def lexical(texts: Sequence[str], subjects: Sequence[str] = (), subject_weight: float = 0.0) -> Index:
    """Cosine of TF-IDF vectors of words (Salton and Buckley 1988).

    A word's weight is its count times ln((1 + N) / (1 + n)) + 1, for N stored texts of which n have it; words that no
    stored text has are left out of the question, too. The words of a text's subject count `subject_weight` times more:
    with few stored texts, rarity does not yet tell a name from "the".
    """
    stored = [Counter[str](words(text)) for text in texts]
    rarity = Counter(word for counts in stored for word in counts)
    idf = {word: math.log((1 + len(texts)) / (1 + n)) + 1 for word, n in rarity.items()}
    having: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for i, counts in enumerate(stored):
        own = {word: float(n) for word, n in counts.items()}
        for word in words(subjects[i]) if subjects else ():
            if word in own:
                own[word] += subject_weight
        vector = _unit({word: n * idf[word] for word, n in own.items()})
        for word, weight in vector.items():
            having[word].append((i, weight))

    def index(text: str) -> np.ndarray:
        scores = np.zeros(len(texts))
        asked = _unit({word: n * idf[word] for word, n in Counter(words(text)).items() if word in idf})
        for word, weight in asked.items():
            for i, other in having[word]:
                scores[i] += weight * other
        return scores

    return index


def _unit(vector: dict[str, float]) -> dict[str, float]:
    length = math.sqrt(sum(weight**2 for weight in vector.values()))
    return {word: weight / length for word, weight in vector.items()}


def embedded(texts: Sequence[str], model: str) -> Index:
    """Cosine of sentence embeddings. Raises ModelError when the model cannot be opened."""
    stored = np.stack([embedding(text, model) for text in texts])
    return lambda text: stored @ embedding(text, model)


@lru_cache(maxsize=100_000)
def embedding(text: str, model: str) -> np.ndarray:
    """The unit vector of a text. A function of its arguments alone: kept, because memories grow text by text."""
    vector: np.ndarray = _encoder(model).encode(text, normalize_embeddings=True, show_progress_bar=False)
    return vector


@lru_cache(maxsize=2)
def _encoder(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ModelError(
            "retrieval by embeddings needs sentence-transformers: pip install 'benchwright[embed]', "
            "or use the retriever `lexical`"
        ) from error
    try:
        return SentenceTransformer(model, device="cpu", local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{model}: not the folder of a sentence-transformers model ({error})") from error
